"""Console output that several commands share."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from api_schemas.conflicts import Conflict


def print_conflicts(conflicts: Sequence[Conflict], console: Console) -> None:
    """Print one line for each conflict."""
    for conflict in conflicts:
        colour = "red" if conflict.severity == "error" else "yellow"
        console.print(f"[{colour}]{conflict.severity}[/] {escape(conflict.message)}. {escape(conflict.remedy)}")


@contextmanager
def progress_bar(description: str, *, quiet: bool) -> Iterator[Callable[[float], None]]:
    """Show a progress bar on standard error; call what it yields with the finished fraction."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True, quiet=quiet), transient=True) as bar:
        task = bar.add_task(description, total=1.0)
        yield lambda fraction: bar.update(task, completed=fraction)
