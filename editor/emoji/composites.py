"""Random training pairs: composited pictures and captions for them."""

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
"""(down, right) in pixels: the shifts that the generator is trained on."""
PLAIN_SHARE = 0.45
"""Share of the default style's captions that leave it unnamed."""


def pick(options: tuple[str, ...], generator: torch.Generator) -> str:
    """One of ``options``, evenly."""
    return options[int(torch.randint(len(options), (), generator=generator))]


@dataclass(frozen=True)
class Subject:
    """Which picture: indices into the vocabulary."""

    object: int
    style: int
    background: int

    def caption(self, generator: torch.Generator) -> str:
        """A random trained wording for this picture."""
        plain = bool(torch.rand((), generator=generator) < PLAIN_SHARE) and STYLES[self.style] == DEFAULT_STYLE
        wording = pick(PLAIN_WORDINGS if plain else STYLED_WORDINGS, generator)
        return caption(wording, OBJECT_NAMES[self.object], STYLES[self.style], tuple(BACKGROUNDS)[self.background])


class Artwork:
    """The artwork in memory, composited on demand."""

    def __init__(self) -> None:
        self.sheet, self.colours = load_sheet(), background_colours()

    def render(self, subjects: list[Subject], shift: tuple[int, int] = (0, 0)) -> Tensor:
        """``(n, 3, 64, 64)`` in [-1, 1]."""
        rgba = torch.stack([self.sheet[s.object, s.style] for s in subjects])
        return composite_on(shift_pictures(rgba, shift), self.colours[[s.background for s in subjects]])
