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
from typing import Any

import httpx
from sqlalchemy import func, select

from service.store.database import Database, sqlite_url
from service.store.orm import Attempt, Job
from tests.load.clients import Seen, load
from tests.load.sides import BODY, Side, ours, template

WARM_UP = 20
ALONE = 20
"""Jobs that are posted one at a time, to learn how long one waits for a worker that has nothing to do."""
FIGURES = (
    "post_p50_ms",
    "post_p99_ms",
    "get_p50_ms",
    "get_p99_ms",
    "stream_p99_ms",
    "download_p99_ms",
    "queue_delay_ms",
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
                for side in sides.values():
                    drain(side)
                delay = queue_delay(sides[name])
                found = load(sides[name], options.seconds, done[name], options.clients)
                rounds[name].append(figures(found) | {"queue_delay_ms": delay})
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
    with _http(side) as http:
        ids = [_post(http, side) for _ in range(WARM_UP)]
        for job_id in ids:
            _when_done(http, side, job_id)
    return ids


def drain(side: Side) -> None:
    """Wait until everything is done that was posted before: who is measured next has the cores for itself."""
    with _http(side) as http:
        _when_done(http, side, _post(http, side))


def queue_delay(side: Side) -> float:
    """Median milliseconds from POST to claim, with nothing to do besides."""
    with _http(side) as http:
        delays = [side.delay(_when_done(http, side, _post(http, side))) for _ in range(ALONE)]
    return round(1000 * statistics.median(delays), 2)


def _http(side: Side) -> httpx.Client:
    return httpx.Client(headers=side.headers, timeout=60, trust_env=False)


def _post(http: httpx.Client, side: Side) -> str:
    return str(http.post(f"{side.url}{side.jobs}", json=BODY).json()["id"])


def _when_done(http: httpx.Client, side: Side, job_id: str) -> dict[str, Any]:
    while True:
        job: dict[str, Any] = http.get(side.of(job_id)).json()
        if side.is_done(job):
            return job
        time.sleep(0.02)


def figures(seen: Seen) -> dict[str, float]:
    """Of one round."""
    parts = (name.rpartition("_p") for name in FIGURES if "_p5" in name or "_p9" in name)
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
    return {
        "jobs": len(accepted),
        "lost": len(set(accepted) - succeeded),
        "twice": len(twice),
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
