"""Output that several commands share."""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape

from api_schemas.conflicts import Conflict


def show_conflicts(conflicts: Sequence[Conflict], console: Console) -> None:
    """A line each."""
    for conflict in conflicts:
        colour = "red" if conflict.severity == "error" else "yellow"
        console.print(f"[{colour}]{conflict.severity}[/] {escape(conflict.message)}. {escape(conflict.remedy)}")
