"""More workers, and parts that are restarted under load: what `python -m tests.scaleout` measured."""

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel

from research.harness import Studio

RUNS: tuple[tuple[str, ...], ...] = ((), (), (), ("--workers", "2", "--restart"))
"""Growth, three times; and then every part stopped and started again, over and over, while jobs run."""


class Row(BaseModel):
    """So many workers."""

    workers: int
    jobs: int
    jobs_per_second: float
    share_of_linear: float | None
    """Of growth from the fewest workers. None: parts were restarted meanwhile."""
    restarts: int
    wrong: int
    """Jobs that did not succeed, and stored files that are not what they should be."""


def measure(studio: Studio) -> Iterator[Row]:
    """Run the programme, from the repository's root: it wants quiet cores. A run that falls short counts too."""
    for arguments in RUNS:
        command = [sys.executable, "-m", "tests.scaleout", *arguments]
        done = subprocess.run(command, check=False, stdout=subprocess.PIPE)
        yield from rows_of(json.loads(done.stdout))


def rows_of(outcome: dict[str, Any]) -> Iterator[Row]:
    """What the programme prints, a row for each number of workers."""
    first = outcome["sites"][0]
    for site in outcome["sites"]:
        growth = site["jobs_per_second"] / first["jobs_per_second"]
        share = None if site["restarts"] else round(growth * first["workers"] / site["workers"], 3)
        yield Row(**site | {"wrong": len(site["wrong"])}, share_of_linear=share)


def page(rows: Sequence[Row]) -> str:
    """A section of the document."""
    shares = [row.share_of_linear for row in rows if row.share_of_linear is not None and row.workers > rows[0].workers]
    table = "\n".join(
        f"| {row.workers} | {row.jobs} | {row.jobs_per_second:.2f} | {share(row)} | {row.restarts} | {row.wrong} |"
        for row in rows
    )
    return f"""## Scale-out

`make scaleout`: two APIs, a dispatcher and so many workers, each a process with a data folder of its own, beside a PostgreSQL,
a broker and a bucket, all on one machine with two cores. Each job's four phases only sleep, half a second each, as if a GPU had
the work; what a job costs besides is shared by the two cores. Of linear growth {statistics.median(shares):.2f} is reached in
the median of {len(shares)} runs, and 0.9 is wanted. In the last row every part but these three is stopped and started again in
turn while jobs run; *wrong* counts jobs that did not succeed and stored files that are not what they should be.

| workers | jobs | jobs a second | share of linear growth | restarts | wrong |
|---|---|---|---|---|---|
{table}
"""


def share(row: Row) -> str:
    """Of linear growth, as it is printed."""
    return "–" if row.share_of_linear is None else f"{row.share_of_linear:.3f}"
