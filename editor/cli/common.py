"""Console output that several commands share."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from api_schemas.conflicts import Conflict
from api_schemas.edits import Removal
from api_schemas.kinds import PromptSlot, prompt_slot
from api_schemas.suggestions import closest_name

if TYPE_CHECKING:
    from editor.prompts import Profile

SLOT_NAMES: dict[PromptSlot, str] = {"object": "a known object", "style": "a known style"}


def print_conflicts(conflicts: Sequence[Conflict], console: Console) -> None:
    """Print one line for each conflict."""
    for conflict in conflicts:
        colour = "red" if conflict.severity == "error" else "yellow"
        console.print(f"[{colour}]{conflict.severity}[/] {escape(conflict.message)}. {escape(conflict.remedy)}")


def print_warnings(warnings: Sequence[str], console: Console) -> None:
    """Print one line for each warning about a solve."""
    for warning in warnings:
        console.print(f"[yellow]warning[/] {escape(warning)}", highlight=False, soft_wrap=True)


@contextmanager
def progress_bar(description: str, *, quiet: bool) -> Iterator[Callable[[float], None]]:
    """Show a progress bar on standard error; call what it yields with the finished fraction."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True, quiet=quiet), transient=True) as bar:
        task = bar.add_task(description, total=1.0)
        yield lambda fraction: bar.update(task, completed=fraction)


def print_concept_hints(removals: Sequence[Removal], profile: "Profile", console: Console) -> None:
    """Print a hint for each concept that the model's profile lists under another kind or another spelling."""
    for removal in removals:
        if hint := concept_hint(removal, profile):
            console.print(f"[yellow]hint[/] {escape(hint)}", highlight=False, soft_wrap=True)


def concept_hint(removal: Removal, profile: "Profile") -> str | None:
    """Return a hint on a concept that the profile does not list; None if it does or has nothing similar."""
    concept, kind = removal.concept, removal.kind
    if kind not in ("object", "style"):
        return None
    names, slot = {"object": profile.object_names, "style": profile.styles}, prompt_slot(kind)
    if concept.casefold() in map(str.casefold, names[slot]):
        return None
    other = "style" if slot == "object" else "object"
    if match := closest_name(concept, names[other]):
        return f'"{concept}" is not {SLOT_NAMES[slot]} of this model. Did you mean "{other}:{match}"?'
    if match := closest_name(concept, names[slot]):
        return f'"{concept}" is not {SLOT_NAMES[slot]} of this model. Did you mean "{match}"?'
    return None
