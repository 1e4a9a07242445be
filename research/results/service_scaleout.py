"""Throughput with more workers, and rolling restarts under load: ``python -m research.results scaleout``."""

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel

from research.harness import EmbeddedModel

RUN_ARGUMENTS: tuple[tuple[str, ...], ...] = ((), (), (), ("--workers", "2", "--restart"))
"""Three runs with a growing number of workers, then one with continuous rolling restarts while jobs run."""


class ScaleoutRow(BaseModel):
    """One number of workers."""

    workers: int
    jobs: int
    jobs_per_second: float
    share_of_linear: float | None
    """Share of linear scaling from the fewest workers. None: processes were restarted during the run."""
    restarts: int
    wrong: int
    """Jobs that did not succeed, and stored files with wrong content."""


def measure(model: EmbeddedModel) -> Iterator[ScaleoutRow]:
    """Run `tests.scaleout` from the repository's root, on an idle machine. A run below the bound counts, too."""
    for arguments in RUN_ARGUMENTS:
        command = [sys.executable, "-m", "tests.scaleout", *arguments]
        done = subprocess.run(command, check=False, stdout=subprocess.PIPE)
        yield from make_rows(json.loads(done.stdout))


def make_rows(result: dict[str, Any]) -> Iterator[ScaleoutRow]:
    """Convert the programme's output to rows."""
    first = result["sites"][0]
    for site in result["sites"]:
        growth = site["jobs_per_second"] / first["jobs_per_second"]
        share = None if site["restarts"] else round(growth * first["workers"] / site["workers"], 3)
        yield ScaleoutRow(**site | {"wrong": len(site["wrong"])}, share_of_linear=share)


def render(rows: Sequence[ScaleoutRow]) -> str:
    """Render the section."""
    shares = [row.share_of_linear for row in rows if row.share_of_linear is not None and row.workers > rows[0].workers]
    table = "\n".join(
        f"| {row.workers} | {row.jobs} | {row.jobs_per_second:.2f} | {render_share(row)} | {row.restarts} | {row.wrong} |"
        for row in rows
    )
    return f"""## Scale-out

`make scaleout` starts two API processes, a dispatcher and a number of workers, each with a data folder of its own, with
PostgreSQL, a broker and a bucket, all on one machine with two cores. Each of a job's four phases sleeps for half a second, as
if a GPU did the work; the rest of a job's cost is shared by the two cores. The median of {len(shares)} runs reaches
{statistics.median(shares):.2f} of linear scaling; the bound is 0.9. In the last row every process except PostgreSQL, broker
and bucket is restarted in turn while jobs run. *Wrong* counts jobs that did not succeed and stored files with wrong content.

| workers | jobs | jobs a second | share of linear | restarts | wrong |
|---|---|---|---|---|---|
{table}
"""


def render_share(row: ScaleoutRow) -> str:
    """Render the share of linear scaling."""
    return "–" if row.share_of_linear is None else f"{row.share_of_linear:.3f}"
