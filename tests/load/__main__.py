"""Load: `expunge up` beside a plain FastAPI and Celery app, in one run, in turns.

    python -m tests.load [--seconds S] [--rounds N] [--clients C] [--jobs N] [--out FILE]

Both run on this machine with one API process and one worker slot each; a round loads first one of them and then the other.
Prints one JSON object: for each side the medians over the rounds, and the ratio, above 1 where ours is better. `--jobs` goes
on to post until ours has accepted so many, waits until all are done, and counts. Wants quiet cores; exit code 1: a request
failed, or a job was lost.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import httpx
from sqlalchemy import func, select

from service.store.database import Database, sqlite_url
from service.store.schema import Attempt, Job
from tests.load.clients import Seen, load
from tests.load.sides import Side, ours, template

WARM_UP = 20
FIGURES = (
    "post_p50_ms",
    "post_p99_ms",
    "get_p50_ms",
    "get_p99_ms",
    "stream_p99_ms",
    "download_p99_ms",
    "accepted_per_s",
)


def main() -> None:
    options = _options()
    with (
        tempfile.TemporaryDirectory(prefix="expunge-load-") as name,
        ours(Path(name)) as our,
        template(Path(name)) as their,
    ):
        sides = {side.name: side for side in (our, their)}
        done = {name: warm_up(side) for name, side in sides.items()}
        rounds: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
        seen: list[Seen] = []
        accepted: list[str] = [*done["ours"]]
        for number in range(options.rounds):
            for name in sorted(sides, reverse=bool(number % 2)):
                found = load(sides[name], options.seconds, done[name], options.clients)
                rounds[name].append(figures(found))
                seen.append(found)
                accepted += found.accepted if name == "ours" else []
                print(f"{name}: {rounds[name][-1]} errors: {found.errors[:3]}", file=sys.stderr, flush=True)
        while len(accepted) < options.jobs:
            found = load(our, 10.0, done["ours"], options.clients)
            accepted += found.accepted
            seen.append(found)
        outcome = summary(rounds) | durability(our, accepted)
    outcome["errors"] = sum(len(one.errors) for one in seen)
    text = json.dumps(outcome, indent=1)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")
    raise SystemExit(1 if outcome["errors"] or outcome["lost"] or outcome["twice"] else 0)


def warm_up(side: Side) -> list[str]:
    """A few jobs, done: caches are warm, and there are files to download."""
    with httpx.Client(headers=side.headers, timeout=60, trust_env=False) as http:
        body = {"model": "tiny", "removals": [{"concept": "fox"}]}
        ids = [str(http.post(f"{side.url}{side.jobs}", json=body).json()["id"]) for _ in range(WARM_UP)]
        while not all(side.is_done(http.get(side.of(job_id)).json()) for job_id in ids):
            time.sleep(0.2)
    return ids


def figures(seen: Seen) -> dict[str, float]:
    """Of one round."""
    parts = (name.rpartition("_p") for name in FIGURES if "_p" in name and name.endswith("_ms"))
    times = {f"{kind}_p{tail}": round(seen.percentile(kind, int(tail[:2]) / 100), 2) for kind, _, tail in parts}
    return times | {"accepted_per_s": round(len(seen.accepted) / seen.wall, 1)}


def summary(rounds: dict[str, list[dict[str, float]]]) -> dict[str, object]:
    """Medians, and ours against theirs."""
    sides = {name: {f: statistics.median(one[f] for one in found) for f in FIGURES} for name, found in rounds.items()}
    mine, theirs = sides["ours"], sides["template"]
    ratios = {f: round(theirs[f] / mine[f] if f.endswith("_ms") else mine[f] / theirs[f], 3) for f in FIGURES}
    return {**sides, "ratio": ratios}


def durability(side: Side, accepted: list[str]) -> dict[str, object]:
    """Wait until ours has done everything that it accepted; count what is lost, and what was done more than once."""
    assert side.stack
    database = Database(sqlite_url(side.stack.data_dir / "expunge.db"))
    while True:
        with database.read() as session:
            left = session.scalar(select(func.count()).select_from(Job).where(Job.status.in_(("queued", "running"))))
        print(f"{left} jobs to go", file=sys.stderr, flush=True)
        if not left:
            break
        time.sleep(5)
    with database.read() as session:
        succeeded = set(session.scalars(select(Job.id).where(Job.status == "succeeded")))
        twice = session.scalars(select(Attempt.job_id).group_by(Attempt.job_id).having(func.count() > 1)).all()
        jobs = session.execute(select(Job.created_at, Job.started_at)).all()
    delays = sorted((started - created).total_seconds() for created, started in jobs)
    return {
        "jobs": len(accepted),
        "lost": len(set(accepted) - succeeded),
        "twice": len(twice),
        "idle_queue_delay_ms": round(1000 * statistics.median(delays[: max(1, len(delays) // 100)]), 1),
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.load", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=0)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
