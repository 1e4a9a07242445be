"""`expunge bench NAME`: run a benchmark against what a user would pick instead."""

from importlib import import_module
from typing import Annotated

import typer

from api_schemas.cli.common_options import JsonOutput
from api_schemas.errors import UsageError

MISSED_EXIT_CODE = 1
BENCHMARKS: dict[str, str] = {
    "edit": "editor.bench.edit",
    "generate": "editor.bench.generate",
    "job": "editor.bench.job",
    "ledger": "editor.bench.ledger",
    "overlay": "editor.bench.overlay",
    "sae": "editor.bench.sae",
    "trace": "editor.bench.trace",
    "validate": "editor.bench.validate",
}
"""Name -> module with a function ``run() -> BenchmarkResult``, imported on use. `make bench` runs all of them."""


def bench(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(BENCHMARKS)}.")],
    json_output: JsonOutput = False,
) -> None:
    """Run a benchmark against what a user would pick instead.

    Exit code: 0 every bound is met; 1 a bound is missed; 2 the benchmark does not exist.
    """
    if name not in BENCHMARKS:
        raise UsageError(f'There is no benchmark "{name}".', remedy=f"Choose from {', '.join(sorted(BENCHMARKS))}.")
    from editor.bench.outcome import format_lines

    result = import_module(BENCHMARKS[name]).run()
    typer.echo(result.model_dump_json() if json_output else "\n".join(format_lines(result)))
    if not result.ok:
        raise typer.Exit(MISSED_EXIT_CODE)
