"""Draw random subjects for training. Imported, not run."""

import torch

from editor.emoji.composites import Subject
from editor.emoji.vocabulary import BACKGROUNDS, OBJECT_NAMES, STYLES


def random_subjects(count: int, generator: torch.Generator) -> list[Subject]:
    """Draw ``count`` subjects; no (object, style) repeats within 480, and half of the backgrounds are the default, white."""
    pairs = torch.randperm(len(OBJECT_NAMES) * len(STYLES), generator=generator)[:count]
    white = torch.rand(len(pairs), generator=generator) < 0.5
    colours = torch.randint(len(BACKGROUNDS), (len(pairs),), generator=generator) * ~white
    return [
        Subject(p // len(STYLES), p % len(STYLES), b) for p, b in zip(pairs.tolist(), colours.tolist(), strict=True)
    ]
