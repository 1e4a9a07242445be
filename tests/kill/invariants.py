"""What must hold, whatever was killed: looked up in the tables and among the blobs, not asked of the service."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from api_schemas.jobs import TERMINAL_STATUSES
from service.store.database import Database
from service.store.orm import Artifact, Attempt, Event, Job, OutboxMessage, WebhookDelivery
from worker.upload import MANIFEST_NAME

Ends = Mapping[str, tuple[object, ...]]
"""Job id -> what was seen of its end, when it was first seen."""


def ends(session: Session) -> dict[str, tuple[object, ...]]:
    """All jobs that are over, and what must never change of them."""
    over = select(Job.id, Job.status, Job.verdict, Job.manifest_sha256, Job.finished_at, Job.fence)
    return {row.id: tuple(row) for row in session.execute(over.where(Job.status.in_(TERMINAL_STATUSES)))}


def violations(
    database: Database,
    blobs: Mapping[str, bytes],
    accepted: Mapping[str, str],
    seen: Ends,
    received: Mapping[str, int],
) -> list[str]:
    """Everything that is wrong.

    Args:
        blobs: everything that is stored, by its name.
        accepted: idempotency key -> id of the job that the service said it had accepted.
        seen: what was seen of jobs' ends while the faults happened.
        received: webhook message -> how often it came.
    """
    with database.read() as session:
        jobs = session.scalars(select(Job)).all()
        found = [*_lost(jobs, accepted), *_changed(ends(session), seen), *_told(session, received)]
        for job in jobs:
            found += [f"{job.id}: {what}" for what in (*_history(session, job), *_result(session, job, blobs))]
    return found + list(_half_written(blobs))


def _lost(jobs: Any, accepted: Mapping[str, str]) -> Iterator[str]:
    known = {job.id for job in jobs}
    yield from (f"{job_id} was accepted and is gone" for job_id in set(accepted.values()) - known)
    yield from (f"{job_id} was made by nobody's request" for job_id in known - set(accepted.values()))
    yield from (f"{job_id} answers {n} keys" for job_id, n in Counter(accepted.values()).items() if n > 1)


def _changed(now: Ends, seen: Ends) -> Iterator[str]:
    yield from (
        f"{job_id} ended as {end} and is {now.get(job_id)}" for job_id, end in seen.items() if now.get(job_id) != end
    )


def _told(session: Session, received: Mapping[str, int]) -> Iterator[str]:
    """Each end is one message, and each message came at least once."""
    messages = session.scalars(select(WebhookDelivery)).all()
    yield from (
        f"{m.id} about {m.job_id} is {m.status} and came {received.get(m.id, 0)} times"
        for m in messages
        if m.status != "delivered" or not received.get(m.id)
    )
    told = Counter((m.job_id, m.type) for m in messages)
    over = {
        (job.id, f"edit.{job.status}") for job in session.scalars(select(Job).where(Job.status.in_(TERMINAL_STATUSES)))
    }
    if set(told) != over or set(told.values()) > {1}:
        yield f"messages {told} about {over}"


def _history(session: Session, job: Job) -> Iterator[str]:
    events = session.scalars(select(Event).where(Event.job_id == job.id).order_by(Event.seq)).all()
    statuses = [event.data["status"] for event in events if event.type == "status"]
    fences = session.scalars(select(Attempt.fence).where(Attempt.job_id == job.id).order_by(Attempt.fence)).all()
    if [event.seq for event in events] != list(range(1, len(events) + 1)):
        yield f"events {[event.seq for event in events]}"
    if job.status not in TERMINAL_STATUSES:
        yield f"still {job.status}"
    if [status for status in statuses if status in TERMINAL_STATUSES] != statuses[-1:] or statuses[-1] != job.status:
        yield f"is {job.status} after {statuses}"
    if list(fences) != list(range(1, job.fence + 1)) or statuses.count("running") != job.fence:
        yield f"fence {job.fence} after {list(fences)} and {statuses}"
    if job.status in TERMINAL_STATUSES and session.get(OutboxMessage, job.id):
        yield "somebody rings for it although it is over"


def _result(session: Session, job: Job, blobs: Mapping[str, bytes]) -> Iterator[str]:
    """One whole result, or an honest end without one."""
    files = {row.name: row for row in session.scalars(select(Artifact).where(Artifact.job_id == job.id))}
    if job.status != "succeeded":
        if files or job.attempt < job.max_attempts:
            yield f"{job.status} after {job.attempt} attempts, with {len(files)} files: {job.error}"
        return
    for row in files.values():
        if row.overlay is None and row.sha256 not in blobs:
            yield f"{row.name} is not there"
    if (manifest := files.pop(MANIFEST_NAME, None)) is None or manifest.sha256 != job.manifest_sha256:
        yield "no manifest"
        return
    listed = json.loads(blobs.get(manifest.sha256, b'{"files": []}'))["files"]
    if {file["name"]: file["sha256"] for file in listed} != {name: row.sha256 for name, row in files.items()}:
        yield "the manifest names other files"


def _half_written(blobs: Mapping[str, bytes]) -> Iterator[str]:
    for name, content in blobs.items():
        if hashlib.sha256(content).hexdigest() != name:
            yield f"blob {name} has other contents"
