"""The kill matrix: every failpoint x every process x {kill -9, stop and continue}, on each store.

    python -m tests.kill.matrix [--store sqlite|postgres|s3] [--seed N] [--how kill,stop] [--part I/N]
                                [--stop SECONDS] [--log FILE] [--minutes M]

Injects the faults one by one into a service under load. After each batch all jobs must end and every invariant of
`tests.kill.invariants` must hold. Prints the seed, progress, and a summary as JSON; exit code 1: there are violations. Faults
in the `--log` file are counted but not repeated; no batch starts after `--minutes`.
"""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.kill.cluster import LEASE_SECONDS, cluster
from tests.kill.faults import ACTIONS, UNSUPPORTED, Fault, matrix

BATCH = 20
"""Number of faults between two checks of the invariants."""


def main() -> None:
    options = _parse_arguments()
    lines = _read_log(options)
    done = {Fault(**fault) for line in lines for fault in line["faults"]}
    part, parts = (int(number) for number in options.part.split("/"))
    chosen = [f for f in matrix(options.store, options.seed) if f.how in options.how.split(",")]
    todo = [fault for fault in chosen[part - 1 :: parts] if fault not in done]
    print(f"seed {options.seed}, {options.store}, part {options.part}: {len(todo)} faults", file=sys.stderr)
    end = time.monotonic() + 60 * options.minutes
    for start in range(0, len(todo), BATCH):
        if time.monotonic() > end:
            break
        lines.append(_run_batch(todo[start : start + BATCH], options))
    wrong = [violation for line in lines for violation in line["violations"]]
    print(json.dumps(_summarize(lines, options.store) | {"violations": wrong}))
    raise SystemExit(1 if wrong else 0)


def _run_batch(faults: list[Fault], options: argparse.Namespace) -> dict[str, Any]:
    """Inject the faults into a new service. Returns the result as a line of the log."""
    with (
        tempfile.TemporaryDirectory(prefix="expunge-kill-") as folder,
        cluster(Path(folder), options.store, options.stop) as running,
    ):
        for fault in faults:
            print(f"  {fault}", file=sys.stderr, flush=True)
            running.inject(fault)
        found = {
            "store": options.store,
            "seed": options.seed,
            "violations": running.drain(),
            "jobs": len(running.accepted),
        }
    print(f"  {len(faults)} faults: {found}", file=sys.stderr, flush=True)
    line = found | {"faults": [asdict(fault) for fault in faults]}
    if options.log:
        with options.log.open("a") as log:
            log.write(json.dumps(line) + "\n")
    return line


def _summarize(lines: list[dict[str, Any]], store: str) -> dict[str, Any]:
    seeds = sorted({line["seed"] for line in lines})
    faults, jobs = sum(len(line["faults"]) for line in lines), sum(line["jobs"] for line in lines)
    return {"store": store, "seeds": seeds, "faults": faults, "jobs": jobs}


def _read_log(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the results of earlier runs on this store."""
    text = options.log.read_text() if options.log and options.log.exists() else ""
    return [line for line in map(json.loads, text.splitlines()) if line["store"] == options.store]


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.kill.matrix", description=__doc__)
    parser.add_argument("--store", choices=list(UNSUPPORTED), default="sqlite")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--how", default=",".join(ACTIONS))
    parser.add_argument("--part", default="1/1")
    parser.add_argument("--stop", type=float, default=2 * LEASE_SECONDS)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
