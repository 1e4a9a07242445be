"""The service beside a plain one, under the same load: what `python -m tests.load` measured."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel

from research.harness import Studio

NAMES = {
    "accepted_per_s": "accepted per second",
    "post_p50_ms": "POST, median, ms",
    "post_p99_ms": "POST, p99, ms",
    "get_p50_ms": "GET, median, ms",
    "get_p99_ms": "GET, p99, ms",
    "stream_p99_ms": "first message of a stream, p99, ms",
    "download_p99_ms": "download of 4 KB, p99, ms",
    "queue_delay_ms": "POST to claim, idle, median, ms",
}
ROUNDS, SECONDS = 3, 8


class Row(BaseModel):
    """One figure of both; `ratio` is above 1 where ours is better."""

    figure: str
    ours: float
    template: float
    ratio: float
    jobs: int
    lost: int
    twice: int


def measure(studio: Studio) -> Iterator[Row]:
    """Run the load programme, from the repository's root: it wants quiet cores."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "load.json"
        rounds = ["--rounds", str(ROUNDS), "--seconds", str(SECONDS)]
        subprocess.run([sys.executable, "-m", "tests.load", *rounds, "--out", str(out)], check=True)
        yield from rows_of(json.loads(out.read_bytes()))


def rows_of(outcome: dict[str, dict[str, float]]) -> Iterator[Row]:
    """What the programme prints, a row for each figure."""
    counted = {name: outcome[name] for name in ("jobs", "lost", "twice")}
    for figure in NAMES:
        sides = {side: outcome[side][figure] for side in ("ours", "template", "ratio")}
        yield Row.model_validate({"figure": figure, **sides, **counted})


def page(rows: Sequence[Row]) -> str:
    """A section of the document."""
    table = "\n".join(
        f"| {NAMES[row.figure]} | {row.ours:.0f} | {row.template:.0f} | {row.ratio:.2f} |" for row in rows
    )
    return f"""## The service under load

A hundred clients post, read, follow and download as fast as they are answered: at `expunge up`, and in turns at the plain
FastAPI and Celery app of `tests/load/template.py`, whose jobs are messages and keys that expire. Two cores, shared with the
clients; one API process and one worker each, ours at a lower priority, with a dispatcher besides, and set to keep its process
for many jobs as the plain one does; medians of {ROUNDS} rounds of {SECONDS} s, each begun when all that was posted before is
done. Ours answers a `POST` when it is on disk, and looks for what is to be queued twenty times a second. The ratio is above 1
where ours is better. Of {rows[0].jobs} jobs that ours accepted {rows[0].lost} were lost and {rows[0].twice} done twice.

| figure | ours | plain app | ratio |
|---|---|---|---|
{table}
"""
