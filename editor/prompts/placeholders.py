"""The placeholders of prompt templates."""

from collections.abc import Collection
from string import Formatter


def check_placeholders(template: str, permitted: Collection[set[str]]) -> None:
    """Raise ValueError unless a template has exactly one of the ``permitted`` sets of placeholders."""
    fields = {field for _, field, _, _ in Formatter().parse(template) if field is not None}
    if fields not in permitted:
        sets = " or ".join(" and ".join(f"{{{field}}}" for field in sorted(names)) for names in permitted)
        raise ValueError(f"{template!r} must contain {sets}")
