"""The data set that features are learned from: every image of the artwork in several labelled composites."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from editor.emoji.composites import SHIFTS, Artwork, Subject
from editor.emoji.vocabulary import BACKGROUNDS, OBJECT_NAMES, OBJECTS, STYLES

OBJECT_GROUPS = {name: group for group, names in OBJECTS.items() for name in names}


@dataclass(frozen=True)
class LabelledComposites:
    """``objects x styles x variants`` items in that order; a variant has a random background and shift."""

    variants: int
    seed: int = 0

    @cached_property
    def subjects(self) -> list[Subject]:
        """Object, style and background of every item."""
        backgrounds = iter(torch.randint(len(BACKGROUNDS), (len(self),), generator=self.generator_for(0)).tolist())
        return [
            Subject(o, s, next(backgrounds))
            for o in range(len(OBJECT_NAMES))
            for s in range(len(STYLES))
            for _ in range(self.variants)
        ]

    def generator_for(self, stream: int) -> torch.Generator:
        """Return the generator of backgrounds (0) or shifts (1)."""
        return torch.Generator().manual_seed(2 * self.seed + stream)

    def __len__(self) -> int:
        return len(OBJECT_NAMES) * len(STYLES) * self.variants

    @cached_property
    def labels(self) -> dict[str, list[str]]:
        """Labels of every item: object, object group, style, background and variant."""
        backgrounds = tuple(BACKGROUNDS)
        return {
            "object": [OBJECT_NAMES[s.object] for s in self.subjects],
            "group": [OBJECT_GROUPS[OBJECT_NAMES[s.object]] for s in self.subjects],
            "style": [STYLES[s.style] for s in self.subjects],
            "background": [backgrounds[s.background] for s in self.subjects],
            "variant": [str(i % self.variants) for i in range(len(self))],
        }

    def images(self) -> Tensor:
        """Composite all items as ``(items, 3, 64, 64)`` in [-1, 1]."""
        artwork, images = Artwork(), torch.empty(len(self), 3, 64, 64)
        moves = torch.randint(len(SHIFTS), (len(self),), generator=self.generator_for(1))
        for number, shift in enumerate(SHIFTS):
            chosen = (moves == number).nonzero()[:, 0].tolist()
            images[chosen] = artwork.render([self.subjects[i] for i in chosen], shift)
        return images
