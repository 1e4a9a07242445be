"""Plug-ins: judges, attacks, detectors and likeness judges, declared as entry points by installed distributions."""

from importlib.metadata import EntryPoint, entry_points
from typing import Any

JUDGES, ATTACKS, DETECTORS = "expunge.judges", "expunge.attacks", "expunge.detectors"
LIKENESS = "expunge.likeness"
"""Groups of entry points."""
OWN_DISTRIBUTION = "expunge"


def list_names(group: str) -> list[str]:
    """Return the names that the installed distributions declare in a group, sorted. Nothing is imported."""
    return sorted(entry_points(group=group).names)


def load(group: str, name: str) -> Any | None:
    """Import and return what is declared under a name; None if it is not declared. Built-in plug-ins take precedence."""
    declared = sorted(entry_points(group=group, name=name), key=_is_third_party)
    return declared[0].load() if declared else None


def _is_third_party(entry: EntryPoint) -> bool:
    return entry.dist is None or entry.dist.name != OWN_DISTRIBUTION
