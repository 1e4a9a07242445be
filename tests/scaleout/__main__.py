"""Scale-out on one machine: 2 API and up to 4 worker processes with separate data folders, PostgreSQL, Redis and a bucket.

    python -m tests.scaleout [--jobs N] [--sleep SECONDS] [--workers 1,4] [--restart]

The phases of the jobs only sleep, as if a GPU did the work. Prints a JSON object: jobs per second, restarts and violations for
each number of workers, and the share of linear growth. `--restart` restarts each process while jobs run. Exit code 1: a job was
lost, or growth is below 0.9 of linear.
"""

import argparse
import json
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.scaleout.deployment import Deployment, deployment

MIN_SHARE_OF_LINEAR = 0.9


def main() -> None:
    options = _parse_arguments()
    numbers = [int(number) for number in options.workers.split(",")]
    sites = []
    for number in numbers:
        with (
            tempfile.TemporaryDirectory(prefix="expunge-scale-") as folder,
            deployment(Path(folder), number) as running,
        ):
            sites.append(measure(running, options.jobs * number, options.sleep, options.restart) | {"workers": number})
        print(sites[-1], file=sys.stderr, flush=True)
    first, last = sites[0], sites[-1]
    share = last["jobs_per_second"] / first["jobs_per_second"] * first["workers"] / last["workers"]
    print(json.dumps({"sites": sites, "share_of_linear": round(share, 3)}))
    wrong = any(one["wrong"] for one in sites)
    raise SystemExit(1 if wrong or (share < MIN_SHARE_OF_LINEAR and not options.restart) else 0)


def measure(running: Deployment, jobs: int, sleep: float, restart: bool) -> dict[str, Any]:
    """Submit jobs through both APIs. Returns the throughput and the violations."""
    running.warm_up()
    ids = [running.submit(number, sleep) for number in range(jobs)]
    restarted: list[str] = []
    with ExitStack() as stack:
        if restart:
            stack.enter_context(_restarting(running, restarted))
        running.wait(ids)
    started, finished = running.time_span(ids)
    rate = round(jobs / (finished - started), 3)
    return {"jobs": jobs, "jobs_per_second": rate, "restarts": len(restarted), "wrong": running.violations(ids)}


@contextmanager
def _restarting(running: Deployment, restarted: list[str]) -> Iterator[None]:
    """Restart one process after the other until the block is left."""
    over = threading.Event()

    def go_round() -> None:
        while True:
            for name in running.names:
                if over.wait(1.0):
                    return
                running.restart(name)
                restarted.append(name)

    thread = threading.Thread(target=go_round)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.scaleout", description=__doc__)
    parser.add_argument("--jobs", type=int, default=20, help="for each worker")
    parser.add_argument("--sleep", type=float, default=0.5, help="seconds of each of four phases")
    parser.add_argument("--workers", default="1,4")
    parser.add_argument("--restart", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
