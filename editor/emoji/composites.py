"""Composites of the artwork: objects in a style, shifted, on a flat background."""

from dataclasses import dataclass

import torch
from torch import Tensor

from editor.emoji.artwork import background_colours, composite_on, load_sheet, shift_pictures

SHIFTS = ((0, 0), (-2, 0), (2, 0), (0, -2), (0, 2))
"""(down, right) in pixels; the shifts in the training data of the image model."""


@dataclass(frozen=True)
class Subject:
    """An object in a style on a background, as indices into the vocabulary."""

    object: int
    style: int
    background: int


class Artwork:
    """The artwork in memory."""

    def __init__(self) -> None:
        self.sheet, self.colours = load_sheet(), background_colours()

    def render(self, subjects: list[Subject], shift: tuple[int, int] = (0, 0)) -> Tensor:
        """Composite subjects as ``(n, 3, 64, 64)`` in [-1, 1]."""
        rgba = torch.stack([self.sheet[s.object, s.style] for s in subjects])
        return composite_on(shift_pictures(rgba, shift), self.colours[[s.background for s in subjects]])
