"""The service under load, against a plain FastAPI and Celery app: ``python -m research.results load``."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel

from research.harness import EmbeddedModel

LABELS = {
    "accepted_per_s": "accepted per second",
    "post_p50_ms": "POST, median, ms",
    "post_p99_ms": "POST, p99, ms",
    "get_p50_ms": "GET, median, ms",
    "get_p99_ms": "GET, p99, ms",
    "stream_p99_ms": "first message of a stream, p99, ms",
    "download_p99_ms": "download of 4 KB, p99, ms",
    "queue_delay_ms": "POST to claim, idle, median, ms",
}
ROUNDS, ROUND_SECONDS = 3, 8


class LoadRow(BaseModel):
    """One figure of both sides; `ratio` is above 1 where ours is better."""

    figure: str
    ours: float
    template: float
    ratio: float
    jobs: int
    lost: int
    twice: int


def measure(model: EmbeddedModel) -> Iterator[LoadRow]:
    """Run `tests.load` from the repository's root. Other load on the machine would falsify the figures."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "load.json"
        rounds = ["--rounds", str(ROUNDS), "--seconds", str(ROUND_SECONDS)]
        subprocess.run([sys.executable, "-m", "tests.load", *rounds, "--out", str(out)], check=True)
        yield from make_rows(json.loads(out.read_bytes()))


def make_rows(result: dict[str, dict[str, float]]) -> Iterator[LoadRow]:
    """Convert the programme's output to rows."""
    counts = {name: result[name] for name in ("jobs", "lost", "twice")}
    for figure in LABELS:
        sides = {side: result[side][figure] for side in ("ours", "template", "ratio")}
        yield LoadRow.model_validate({"figure": figure, **sides, **counts})


def render(rows: Sequence[LoadRow]) -> str:
    """Render the section."""
    table = "\n".join(
        f"| {LABELS[row.figure]} | {row.ours:.0f} | {row.template:.0f} | {row.ratio:.2f} |" for row in rows
    )
    return f"""## The service under load

A hundred clients post, read, stream and download as fast as they get replies: alternately from `expunge up` and from the plain
FastAPI and Celery app of `tests/load/template.py`, whose jobs are broker messages and expiring keys. Both run on two cores
that the clients share, with one API process and one worker each; ours also has a dispatcher, runs the worker at a lower
priority, and reuses its worker process for many jobs as the plain app does. The figures are medians of {ROUNDS} rounds of
{ROUND_SECONDS} s; each round starts when all earlier jobs are done. Ours replies to a `POST` once it is on disk, and polls for
jobs to queue twenty times a second. The ratio is above 1 where ours is better. Of {rows[0].jobs} accepted jobs ours lost
{rows[0].lost} and ran {rows[0].twice} twice.

| figure | ours | plain app | ratio |
|---|---|---|---|
{table}
"""
