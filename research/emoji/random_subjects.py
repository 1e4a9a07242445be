"""Random subjects to train on."""

import torch

from editor.emoji.composites import Subject
from editor.emoji.vocabulary import BACKGROUNDS, OBJECT_NAMES, STYLES


def random_subjects(count: int, generator: torch.Generator) -> list[Subject]:
    """``count`` subjects, no (object, style) twice within 480; white, the default background, half of the time."""
    pairs = torch.randperm(len(OBJECT_NAMES) * len(STYLES), generator=generator)[:count]
    white = torch.rand(len(pairs), generator=generator) < 0.5
    colours = torch.randint(len(BACKGROUNDS), (len(pairs),), generator=generator) * ~white
    return [
        Subject(p // len(STYLES), p % len(STYLES), b) for p, b in zip(pairs.tolist(), colours.tolist(), strict=True)
    ]
