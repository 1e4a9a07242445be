"""The command `expunge bench NAME`: compare our speed with that of an alternative."""

from importlib import import_module
from typing import Annotated

import typer

from api_schemas.cli.options import JsonOutput
from api_schemas.errors import UsageError
from editor.bench.outcome import BenchmarkResult, format_lines

MISSED_EXIT_CODE = 1
BENCHMARKS: dict[str, str] = {
    "edit": "editor.bench.edit",
    "ledger": "editor.bench.ledger",
    "overlay": "editor.bench.overlay",
    "sae": "editor.bench.sae",
    "trace": "editor.bench.trace",
    "validate": "editor.bench.validate",
}
"""Name -> module with a function ``run() -> BenchmarkResult``, imported on use. `make bench` runs all of them."""


def bench(
    name: Annotated[str, typer.Argument(help="Name of the benchmark.")],
    json_output: JsonOutput = False,
) -> None:
    """Compare our speed with that of the tool that a user would choose instead.

    Exit code: 0 every bound is met; 1 a bound is missed; 2 the benchmark does not exist.
    """
    if name not in BENCHMARKS:
        raise UsageError(f'There is no benchmark "{name}".', remedy=f"Choose from {', '.join(sorted(BENCHMARKS))}.")
    result: BenchmarkResult = import_module(BENCHMARKS[name]).run()
    typer.echo(result.model_dump_json() if json_output else "\n".join(format_lines(result)))
    if not result.ok:
        raise typer.Exit(MISSED_EXIT_CODE)
