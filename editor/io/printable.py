"""Spell characters that a document cannot print as their code points: ``"\\ufeff"`` -> ``"[U+FEFF]"``."""

import re
import unicodedata

PRINTABLE_CONTROLS = frozenset("\t\n")
PRINTABLE_FORMAT_CHARACTERS = frozenset("\u00ad\u200b\u200c\u200d\u200e\u200f")
"""Soft hyphen, break opportunity, and the joiners and direction marks that some scripts are written with."""
UNCOMMON = re.compile(r"[^\t\n -~]")
"""Every character except those of plain English text, which nearly all letters of a report are."""
UNPRINTABLE_CATEGORIES = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})
"""Control and format characters, unassigned and private code points, surrogates, separators of lines and paragraphs."""


def is_printable(letter: str) -> bool:
    """Return whether XML and PDF/UA accept a character. Overrides of the direction are refused: they reorder other text."""
    is_exception = letter in PRINTABLE_CONTROLS or letter in PRINTABLE_FORMAT_CHARACTERS
    return is_exception or unicodedata.category(letter) not in UNPRINTABLE_CATEGORIES


def spell_code_point(letter: str) -> str:
    """Return the visible notation of a character."""
    return f"[U+{ord(letter):04X}]"


def spell_unprintable(text: str) -> str:
    """Replace the characters of a text that cannot be printed by their code points."""
    return UNCOMMON.sub(lambda found: found[0] if is_printable(found[0]) else spell_code_point(found[0]), text)
