"""`expunge bench NAME`: measure ours beside what a user would pick instead."""

from importlib import import_module
from typing import Annotated

import typer

from api_schemas.cli.options import JsonOutput
from api_schemas.errors import UsageError
from editor.bench.outcome import Outcome, lines

MISSED = 1
BENCHMARKS: dict[str, str] = {
    "edit": "editor.bench.edit",
    "ledger": "editor.bench.ledger",
    "overlay": "editor.bench.overlay",
    "sae": "editor.bench.sae",
    "trace": "editor.bench.trace",
    "validate": "editor.bench.validate",
}
"""Name -> module with a function ``run() -> Outcome``; imported only when asked for. `make bench` runs them all."""


def bench(
    name: Annotated[str, typer.Argument(help="Which one.")],
    json_output: JsonOutput = False,
) -> None:
    """Measure ours beside what a user would pick instead, in one run.

    Exit code: 0 every bound holds; 1 one does not; 2 there is no such benchmark.
    """
    if name not in BENCHMARKS:
        raise UsageError(f'There is no benchmark "{name}".', remedy=f"Choose from {', '.join(sorted(BENCHMARKS))}.")
    outcome: Outcome = import_module(BENCHMARKS[name]).run()
    typer.echo(outcome.model_dump_json() if json_output else "\n".join(lines(outcome)))
    if not outcome.ok:
        raise typer.Exit(MISSED)
