"""The kill matrix: every named place x every process x {kill -9, stop and continue}, on each store.

    python -m tests.kill.matrix [--store sqlite|postgres|s3] [--seed N] [--how kill,stop] [--part I/N]
                                [--stop SECONDS] [--log FILE] [--minutes M]

Faults strike one after the other at a service that is busy. In between, and at the end, all jobs must come to their end and
every invariant of `tests.kill.invariants` must hold. Prints the seed, what happened, and a summary as JSON; exit code 1 is
a violation. With `--log`, faults that the file has are not struck again; with `--minutes`, no batch begins after that.
"""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from tests.kill.cluster import LEASE_SECONDS, cluster
from tests.kill.faults import ABSENT, HOWS, Fault, matrix

BATCH = 20
"""Faults between two looks at everything."""


def main() -> None:
    options = _options()
    done = _logged(options.log)
    part, parts = (int(number) for number in options.part.split("/"))
    chosen = [f for f in matrix(options.store, options.seed) if f.how in options.how.split(",")]
    todo = [fault for fault in chosen[part - 1 :: parts] if (options.store, fault) not in done]
    print(f"seed {options.seed}, {options.store}, part {options.part}: {len(todo)} faults", file=sys.stderr)
    wrong: list[str] = []
    jobs = struck = 0
    end = time.monotonic() + 60 * options.minutes
    for start in range(0, len(todo), BATCH):
        if time.monotonic() > end:
            break
        violations, accepted = _strike(todo[start : start + BATCH], options)
        wrong, jobs, struck = wrong + violations, jobs + accepted, struck + len(todo[start : start + BATCH])
    summary = {"store": options.store, "seed": options.seed, "faults": struck, "jobs": jobs, "violations": wrong}
    print(json.dumps(summary))
    raise SystemExit(1 if wrong else 0)


def _strike(faults: list[Fault], options: argparse.Namespace) -> tuple[list[str], int]:
    """A service of its own for these. Returns what is wrong at the end, and how many jobs were accepted."""
    with (
        tempfile.TemporaryDirectory(prefix="expunge-kill-") as folder,
        cluster(Path(folder), options.store, options.stop) as busy,
    ):
        for fault in faults:
            print(f"  {fault}", file=sys.stderr, flush=True)
            busy.inject(fault)
        found = busy.drain()
        _write(options, faults, found, len(busy.accepted))
        return found, len(busy.accepted)


def _write(options: argparse.Namespace, faults: list[Fault], violations: list[str], jobs: int) -> None:
    print(f"  {len(faults)} faults, {jobs} jobs, violations: {violations}", file=sys.stderr, flush=True)
    if options.log:
        with options.log.open("a") as log:
            line = {"store": options.store, "seed": options.seed, "jobs": jobs, "violations": violations}
            log.write(json.dumps(line | {"faults": [asdict(fault) for fault in faults]}) + "\n")


def _logged(log: Path | None) -> set[tuple[str, Fault]]:
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log and log.exists() else []
    return {(line["store"], Fault(**fault)) for line in lines for fault in line["faults"]}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.kill.matrix", description=__doc__)
    parser.add_argument("--store", choices=list(ABSENT), default="sqlite")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--how", default=",".join(HOWS))
    parser.add_argument("--part", default="1/1")
    parser.add_argument("--stop", type=float, default=2 * LEASE_SECONDS)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
