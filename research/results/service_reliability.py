"""What was done to the service to break it, and what broke: faults, spoilt files, made-up requests."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from research.harness import Studio

STORES = {"sqlite": "SQLite", "postgres": "PostgreSQL", "s3": "PostgreSQL and a bucket"}
LOG = Path("build/kill.jsonl")
"""Of the kill matrix, which takes about two hours: what it has is not done again."""


class Row(BaseModel):
    """One kind of trial."""

    trial: str
    tried: int
    jobs: int | None = None
    """That the service accepted meanwhile."""
    wrong: int
    seeds: list[int]
    command: str


def measure(studio: Studio) -> Iterator[Row]:
    """Run the programmes, from the repository's root."""
    for store in STORES:
        yield killed(summary("tests.kill.matrix", "--store", store, "--log", str(LOG)))
    yield posted(summary("tests.load", "--rounds", "1", "--seconds", "2", "--jobs", "20000"))
    yield fuzzed(summary("tests.fuzz.safetensors"))
    yield asked(summary("tests.contract.fuzz", "--examples", "60"))


def summary(module: str, *arguments: str) -> dict[str, Any]:
    """What a programme prints last, and how it was called. One that found something is heard too."""
    LOG.parent.mkdir(exist_ok=True)
    done = subprocess.run([sys.executable, "-m", module, *arguments], check=False, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout[done.stdout.rfind("\n{") + 1 :])
    kept = [argument for argument in arguments if argument not in ("--log", str(LOG))]
    return found | {"command": " ".join(["python -m", module, *kept])}


def killed(found: dict[str, Any]) -> Row:
    """The kill matrix on one store."""
    return Row(
        trial=f"a process killed or stopped at a named place, {STORES[found['store']]}",
        tried=found["faults"],
        jobs=found["jobs"],
        wrong=len(found["violations"]),
        seeds=found["seeds"],
        command=found["command"],
    )


def posted(found: dict[str, Any]) -> Row:
    """As many jobs as a hundred clients could post."""
    trial, wrong = "a job posted while a hundred clients post", found["lost"] + found["twice"] + found["errors"]
    return Row(trial=trial, tried=found["jobs"], jobs=found["jobs"], wrong=wrong, seeds=[], command=found["command"])


def fuzzed(found: dict[str, Any]) -> Row:
    """Spoilt safetensors files."""
    trial = "a spoilt safetensors file, from registration to the first read"
    seeds = [found["seed"], found["seed"] + found["files"] - 1]
    return Row(trial=trial, tried=found["files"], wrong=len(found["wrong"]), seeds=seeds, command=found["command"])


def asked(found: dict[str, Any]) -> Row:
    """Requests made up from the contract."""
    trial = "a request made up from the contract, all checks of Schemathesis on the reply"
    return Row(
        trial=trial, tried=found["cases"], wrong=found["failures"], seeds=[found["seed"]], command=found["command"]
    )


def page(rows: Sequence[Row]) -> str:
    """A section of the document."""
    table = "\n".join(
        f"| {row.trial} | {row.tried:,} | {row.wrong} | {'–' if row.jobs is None else row.jobs} | "
        f"{' to '.join(map(str, row.seeds)) or '–'} | `{row.command}` |"
        for row in rows
    )
    return f"""## Reliability

What was tried to break the service, and how often something was wrong after it. After every twenty faults no accepted job may
be lost, none published twice, no end changed, no history have gaps, no blob be half-written, no webhook be missing
([operations](../how-to/operations.md#trying-it-hard)).

| trial | tried | wrong | jobs | seeds | command |
|---|---|---|---|---|---|
{table}
"""
