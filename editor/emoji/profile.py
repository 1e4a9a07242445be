"""The embedded model's profile: its vocabulary in the form that every model may bring."""

from editor.emoji.vocabulary import (
    BACKGROUNDS,
    DEFAULT_STYLE,
    HELD_OUT_WORDINGS,
    OBJECT_NAMES,
    OBJECTS,
    PLAIN_WORDINGS,
    PREFIXES,
    STYLED_WORDINGS,
    STYLES,
)
from editor.prompts.profile import Profile

PROFILE = Profile(
    objects=OBJECTS,
    styles=STYLES,
    default_style=DEFAULT_STYLE,
    styled_wordings=STYLED_WORDINGS,
    plain_wordings=PLAIN_WORDINGS,
    held_out_wordings=HELD_OUT_WORDINGS,
    suffixes=("", *(f" on a {name} background" for name in BACKGROUNDS if name != "white")),
    prefixes=("", *PREFIXES),
    style_contexts=3 * len(OBJECT_NAMES),
)
