"""Hints for names that are nearly right."""

from collections.abc import Iterable
from difflib import get_close_matches

CUTOFF = 0.75
"""Least similarity of a suggestion (`difflib.SequenceMatcher.ratio`)."""


def closest_name(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most like ``name``, ignoring case; None if none is similar."""
    by_folded = {candidate.casefold(): candidate for candidate in known}
    matches = get_close_matches(name.casefold(), by_folded, n=1, cutoff=CUTOFF)
    return by_folded[matches[0]] if matches else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `Did you mean "..."? `, or an empty string if no known name is similar."""
    match = closest_name(name, known)
    return f'Did you mean "{match}"? ' if match else ""
