"""The service under faults, corrupt files and random requests: ``python -m research.results reliability``."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from research.harness import EmbeddedModel

STORE_LABELS = {"sqlite": "SQLite", "postgres": "PostgreSQL", "s3": "PostgreSQL and a bucket"}
KILL_LOG = Path("build/kill.jsonl")
"""Log of the kill matrix, which takes about two hours and skips the faults that its log has."""


class ReliabilityRow(BaseModel):
    """One kind of trial."""

    trial: str
    tried: int
    jobs: int | None = None
    """Number of jobs that the service accepted during the trials."""
    wrong: int
    seeds: list[int]
    command: str


def measure(model: EmbeddedModel) -> Iterator[ReliabilityRow]:
    """Run the test programmes from the repository's root."""
    for store in STORE_LABELS:
        yield kill_row(run_programme("tests.kill.matrix", "--store", store, "--log", str(KILL_LOG)))
    yield load_row(run_programme("tests.load", "--rounds", "1", "--seconds", "2", "--jobs", "20000"))
    yield file_fuzz_row(run_programme("tests.fuzz.safetensors"))
    yield request_fuzz_row(run_programme("tests.contract.fuzz", "--examples", "60"))


def run_programme(module: str, *arguments: str) -> dict[str, Any]:
    """Return a programme's last JSON object, with its command. A non-zero exit code is a result, not an error."""
    KILL_LOG.parent.mkdir(exist_ok=True)
    done = subprocess.run([sys.executable, "-m", module, *arguments], check=False, stdout=subprocess.PIPE, text=True)
    result: dict[str, Any] = json.loads(done.stdout[done.stdout.rfind("\n{") + 1 :])
    shown = [argument for argument in arguments if argument not in ("--log", str(KILL_LOG))]
    return result | {"command": " ".join(["python -m", module, *shown])}


def kill_row(result: dict[str, Any]) -> ReliabilityRow:
    """Return the row of the kill matrix on one store."""
    return ReliabilityRow(
        trial=f"a process killed or stopped at a failpoint, {STORE_LABELS[result['store']]}",
        tried=result["faults"],
        jobs=result["jobs"],
        wrong=len(result["violations"]),
        seeds=result["seeds"],
        command=result["command"],
    )


def load_row(result: dict[str, Any]) -> ReliabilityRow:
    """Return the row of the jobs posted under load."""
    return ReliabilityRow(
        trial="a job posted by one of a hundred concurrent clients",
        tried=result["jobs"],
        jobs=result["jobs"],
        wrong=result["lost"] + result["twice"] + result["errors"],
        seeds=[],
        command=result["command"],
    )


def file_fuzz_row(result: dict[str, Any]) -> ReliabilityRow:
    """Return the row of the corrupt safetensors files."""
    return ReliabilityRow(
        trial="a corrupt safetensors file, from registration to the first read",
        tried=result["files"],
        wrong=len(result["wrong"]),
        seeds=[result["seed"], result["seed"] + result["files"] - 1],
        command=result["command"],
    )


def request_fuzz_row(result: dict[str, Any]) -> ReliabilityRow:
    """Return the row of the random requests."""
    return ReliabilityRow(
        trial="a request generated from the OpenAPI contract, with all checks of Schemathesis on the reply",
        tried=result["cases"],
        wrong=result["failures"],
        seeds=[result["seed"]],
        command=result["command"],
    )


def render(rows: Sequence[ReliabilityRow]) -> str:
    """Render the section."""
    table = "\n".join(
        f"| {row.trial} | {row.tried:,} | {row.wrong} | {'–' if row.jobs is None else row.jobs} | "
        f"{' to '.join(map(str, row.seeds)) or '–'} | `{row.command}` |"
        for row in rows
    )
    return f"""## Reliability

Each row is one way of trying to break the service; *wrong* counts violations. After every twenty faults the invariants are
checked: no accepted job is lost, none is published twice, no final status changes, no event history has gaps, no blob is
incomplete, no webhook is missing ([operations](../how-to/operations.md#trying-it-hard)).

| trial | tried | wrong | jobs | seeds | command |
|---|---|---|---|---|---|
{table}
"""
