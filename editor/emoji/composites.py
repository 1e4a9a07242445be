"""Composites of the artwork: objects in a style, shifted, on a flat background, with random captions."""

from dataclasses import dataclass

import torch
from torch import Tensor

from editor.emoji.artwork import background_colours, composite_on, load_sheet, shift_pictures
from editor.emoji.vocabulary import (
    BACKGROUNDS,
    DEFAULT_STYLE,
    OBJECT_NAMES,
    PLAIN_WORDINGS,
    STYLED_WORDINGS,
    STYLES,
    caption,
)

SHIFTS = ((0, 0), (-2, 0), (2, 0), (0, -2), (0, 2))
"""(down, right) in pixels; the shifts in the training data of the image model."""
PLAIN_SHARE = 0.45
"""Share of captions in the default style that do not name it."""


def pick(options: tuple[str, ...], generator: torch.Generator) -> str:
    """Pick one of the options uniformly."""
    return options[int(torch.randint(len(options), (), generator=generator))]


@dataclass(frozen=True)
class Subject:
    """An object in a style on a background, as indices into the vocabulary."""

    object: int
    style: int
    background: int

    def caption(self, generator: torch.Generator) -> str:
        """Return a caption with a random training wording."""
        plain = bool(torch.rand((), generator=generator) < PLAIN_SHARE) and STYLES[self.style] == DEFAULT_STYLE
        wording = pick(PLAIN_WORDINGS if plain else STYLED_WORDINGS, generator)
        return caption(wording, OBJECT_NAMES[self.object], STYLES[self.style], tuple(BACKGROUNDS)[self.background])


class Artwork:
    """The artwork in memory."""

    def __init__(self) -> None:
        self.sheet, self.colours = load_sheet(), background_colours()

    def render(self, subjects: list[Subject], shift: tuple[int, int] = (0, 0)) -> Tensor:
        """Composite subjects as ``(n, 3, 64, 64)`` in [-1, 1]."""
        rgba = torch.stack([self.sheet[s.object, s.style] for s in subjects])
        return composite_on(shift_pictures(rgba, shift), self.colours[[s.background for s in subjects]])
