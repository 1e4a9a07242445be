"""The profile of the embedded model: its vocabulary in the format that any model can provide."""

from itertools import cycle

from editor.emoji.vocabulary import (
    BACKGROUNDS,
    DEFAULT_STYLE,
    DIT_STYLE_REPLACEMENTS,
    HELD_OUT_WORDINGS,
    OBJECT_NAMES,
    OBJECTS,
    PLAIN_WORDINGS,
    PREFIXES,
    STYLE_REPLACEMENTS,
    STYLED_WORDINGS,
    STYLES,
)
from editor.prompts.concepts import Phrase
from editor.prompts.profile import Profile, SamplerDefaults

PROFILE = Profile(
    objects=OBJECTS,
    styles=STYLES,
    default_style=DEFAULT_STYLE,
    style_replacements=STYLE_REPLACEMENTS,
    styled_wordings=STYLED_WORDINGS,
    plain_wordings=PLAIN_WORDINGS,
    held_out_wordings=HELD_OUT_WORDINGS,
    suffixes=("", *(f" on a {name} background" for name in BACKGROUNDS if name != "white")),
    prefixes=("", *PREFIXES),
    style_contexts=3 * len(OBJECT_NAMES),
    sampler=SamplerDefaults(steps=20, guidance=3.0),
)
DIT_PROFILE = PROFILE.model_copy(
    update={
        "style_replacements": DIT_STYLE_REPLACEMENTS,
        "sampler": SamplerDefaults(steps=10, guidance=1.0, size=(64, 64)),
    }
)
"""The profile of `emoji-dit`, which needs no guidance. The files of a FLUX-class model do not state the size of its images."""


def styled_object_phrases() -> list[Phrase]:
    """Return every object in every style on white, cycling through the wordings."""
    wordings = cycle(STYLED_WORDINGS)
    return [Phrase(next(wordings), name, style) for name in OBJECT_NAMES for style in STYLES]
