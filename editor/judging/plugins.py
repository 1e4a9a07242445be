"""Plug-ins: judges, attacks and detectors, declared as entry points by this distribution or by any other that is installed."""

from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from editor.errors import AttackError, DetectorError, EditorError, JudgeError

OWN_DISTRIBUTION = "expunge"


@dataclass(frozen=True)
class PluginGroup:
    """A kind of plug-in, and the error for a name that no installed distribution declares."""

    entry_point_group: str
    error: type[EditorError]
    message: str
    """A format string of ``name``, as are the next two."""
    field: str | None
    remedy: str
    """May also use ``known``, the declared names."""


JUDGES = PluginGroup(
    "expunge.judges",
    JudgeError,
    "No judge is registered for model type {name!r}.",
    None,
    "Use a judge of one of these model types: {known}; or install the distribution that provides {name!r}.",
)
ATTACKS = PluginGroup(
    "expunge.attacks",
    AttackError,
    "There is no attack {name!r}.",
    "validation.attacks.plugins.{name}",
    "Choose from {known}; or install the distribution that provides {name!r}.",
)
DETECTORS = PluginGroup(
    "expunge.detectors",
    DetectorError,
    "There is no detector {name!r}.",
    "validation.detectors",
    "Choose from {known}; or install the distribution that provides {name!r}.",
)


def list_names(group: PluginGroup) -> list[str]:
    """Return the names that the installed distributions declare in a group, sorted. Nothing is imported."""
    return sorted(entry_points(group=group.entry_point_group).names)


def load(group: PluginGroup, name: str) -> Any:
    """Import and return the class that is declared under a name; a built-in one takes precedence.

    Raises:
        EditorError: no distribution declares the name; of the group's subclass.
    """
    candidates = sorted(entry_points(group=group.entry_point_group, name=name), key=_is_third_party)
    if not candidates:
        values = {"name": name, "known": ", ".join(list_names(group))}
        field = group.field and group.field.format(**values)
        raise group.error(group.message.format(**values), field=field, remedy=group.remedy.format(**values))
    return candidates[0].load()


def _is_third_party(entry: EntryPoint) -> bool:
    return entry.dist is None or entry.dist.name != OWN_DISTRIBUTION
