"""Load test: `expunge up` compared with a plain FastAPI and Celery app.

    python -m tests.load [--seconds S] [--rounds N] [--clients C] [--jobs N] [--out FILE]

Both run on this machine with one API process and one worker process; each round loads first one and then the other. Prints a
JSON object: the medians of each service, and the ratio, above 1 where ours is better. `--jobs` submits until ours has accepted
that many, waits for them and counts. Needs idle cores; exit code 1: a request failed or a job was lost.
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
from tests.load.clients import Measurements, load
from tests.load.services import BODY, Service, ours, template

WARM_UP_JOBS = 20
SEQUENTIAL_JOBS = 20
"""Jobs that are submitted one by one, to measure the queue delay of an idle worker."""
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
    options = _parse_arguments()
    with (
        tempfile.TemporaryDirectory(prefix="expunge-load-") as name,
        ours(Path(name)) as expunge,
        template(Path(name)) as other,
    ):
        services = {service.name: service for service in (expunge, other)}
        done = {name: warm_up(service) for name, service in services.items()}
        rounds: dict[str, list[dict[str, float]]] = {name: [] for name in services}
        measurements: list[Measurements] = []
        accepted: list[str] = [*done["ours"]]
        for number in range(options.rounds):
            for name in sorted(services, reverse=bool(number % 2)):
                for service in services.values():
                    drain(service)
                delay = queue_delay(services[name])
                found = load(services[name], options.seconds, done[name], options.clients)
                rounds[name].append(compute_figures(found) | {"queue_delay_ms": delay})
                measurements.append(found)
                accepted += found.accepted if name == "ours" else []
                print(f"{name}: {rounds[name][-1]} errors: {found.errors[:3]}", file=sys.stderr, flush=True)
        while len(accepted) < options.jobs:
            found = load(expunge, 10.0, done["ours"], options.clients)
            accepted += found.accepted
            measurements.append(found)
        outcome = summarize(rounds) | durability(expunge, accepted)
    outcome["errors"] = sum(len(one.errors) for one in measurements)
    text = json.dumps(outcome, indent=1)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")
    raise SystemExit(1 if outcome["errors"] or outcome["lost"] or outcome["twice"] else 0)


def warm_up(service: Service) -> list[str]:
    """Run a few jobs, to warm caches and to have files to download."""
    with _http(service) as http:
        ids = [_submit(http, service) for _ in range(WARM_UP_JOBS)]
        for job_id in ids:
            _wait_until_done(http, service, job_id)
    return ids


def drain(service: Service) -> None:
    """Wait until all earlier jobs are done, so that the next service is measured alone."""
    with _http(service) as http:
        _wait_until_done(http, service, _submit(http, service))


def queue_delay(service: Service) -> float:
    """Return the median delay from POST to claim of an idle service, in milliseconds."""
    with _http(service) as http:
        delays = [
            service.delay(_wait_until_done(http, service, _submit(http, service))) for _ in range(SEQUENTIAL_JOBS)
        ]
    return round(1000 * statistics.median(delays), 2)


def _http(service: Service) -> httpx.Client:
    return httpx.Client(headers=service.headers, timeout=60, trust_env=False)


def _submit(http: httpx.Client, service: Service) -> str:
    return str(http.post(f"{service.url}{service.jobs}", json=BODY).json()["id"])


def _wait_until_done(http: httpx.Client, service: Service, job_id: str) -> dict[str, Any]:
    while True:
        job: dict[str, Any] = http.get(service.of(job_id)).json()
        if service.is_done(job):
            return job
        time.sleep(0.02)


def compute_figures(measurements: Measurements) -> dict[str, float]:
    """Return the figures of one round."""
    parts = (name.rpartition("_p") for name in FIGURES if "_p5" in name or "_p9" in name)
    times = {f"{kind}_p{tail}": round(measurements.percentile(kind, int(tail[:2]) / 100), 2) for kind, _, tail in parts}
    return times | {"accepted_per_s": round(len(measurements.accepted) / measurements.wall, 1)}


def summarize(rounds: dict[str, list[dict[str, float]]]) -> dict[str, object]:
    """Return the medians of both services and their ratios."""
    services = {
        name: {f: statistics.median(one[f] for one in found) for f in FIGURES} for name, found in rounds.items()
    }
    mine, theirs = services["ours"], services["template"]
    ratios = {f: round(theirs[f] / mine[f] if f.endswith("_ms") else mine[f] / theirs[f], 3) for f in FIGURES}
    return {**services, "ratio": ratios}


def durability(service: Service, accepted: list[str]) -> dict[str, object]:
    """Wait until all accepted jobs are done, and count lost and repeated ones."""
    assert service.stack
    database = Database(sqlite_url(service.stack.data_dir / "expunge.db"))
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


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.load", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=0)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
