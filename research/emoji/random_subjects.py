"""Draw random subjects and captions for training. Imported, not run."""

import torch

from editor.emoji.composites import Subject
from editor.emoji.vocabulary import (
    BACKGROUNDS,
    DEFAULT_STYLE,
    OBJECT_NAMES,
    PLAIN_WORDINGS,
    STYLED_WORDINGS,
    STYLES,
    caption,
)

PLAIN_SHARE = 0.45
"""Share of captions in the default style that do not name it."""


def random_subjects(count: int, generator: torch.Generator) -> list[Subject]:
    """Draw ``count`` subjects; no (object, style) repeats within 480, and half of the backgrounds are the default, white."""
    pairs = torch.randperm(len(OBJECT_NAMES) * len(STYLES), generator=generator)[:count]
    white = torch.rand(len(pairs), generator=generator) < 0.5
    colours = torch.randint(len(BACKGROUNDS), (len(pairs),), generator=generator) * ~white
    return [
        Subject(p // len(STYLES), p % len(STYLES), b) for p, b in zip(pairs.tolist(), colours.tolist(), strict=True)
    ]


def random_caption(subject: Subject, generator: torch.Generator) -> str:
    """Draw a caption of a subject in a training wording."""
    style = STYLES[subject.style]
    plain = bool(torch.rand((), generator=generator) < PLAIN_SHARE) and style == DEFAULT_STYLE
    wordings = PLAIN_WORDINGS if plain else STYLED_WORDINGS
    wording = wordings[int(torch.randint(len(wordings), (), generator=generator))]
    return caption(wording, OBJECT_NAMES[subject.object], style, tuple(BACKGROUNDS)[subject.background])
