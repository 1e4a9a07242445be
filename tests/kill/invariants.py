"""Invariants that must hold after any fault, checked in the database and the blob store."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from api_schemas.jobs import TERMINAL_STATUSES
from editor.publishing.filenames import MANIFEST
from service.store.database import Database
from service.store.orm import Artifact, Attempt, Event, Job, OutboxMessage, Sample, WebhookDelivery

EndedJobs = Mapping[str, tuple[object, ...]]
"""State of each ended job when its end was first seen, by id."""


def ended_jobs(session: Session) -> dict[str, tuple[object, ...]]:
    """Return the state of all ended jobs, which must never change."""
    over = select(Job.id, Job.status, Job.verdict, Job.manifest_sha256, Job.finished_at, Job.fence)
    return {row.id: tuple(row) for row in session.execute(over.where(Job.status.in_(TERMINAL_STATUSES)))}


def violations(
    database: Database,
    blobs: Mapping[str, bytes],
    accepted: Mapping[str, str],
    seen: EndedJobs,
    received: Mapping[str, int],
) -> list[str]:
    """Return all violations.

    Args:
        blobs: every stored blob, by name.
        accepted: job id that the service accepted, by idempotency key.
        seen: state of ended jobs, as first seen while faults were injected.
        received: number of deliveries of each webhook message.
    """
    with database.read() as session:
        jobs = session.scalars(select(Job)).all()
        found = [
            *_check_accepted_jobs(jobs, accepted),
            *_check_ended_jobs(ended_jobs(session), seen),
            *_check_webhooks(session, received),
        ]
        for job in jobs:
            found += [
                f"{job.id}: {violation}"
                for violation in (*check_events(session, job), *_check_files(session, job, blobs))
            ]
    return found + list(check_blobs(blobs))


def _check_accepted_jobs(jobs: Any, accepted: Mapping[str, str]) -> Iterator[str]:
    known = {job.id for job in jobs}
    yield from (f"{job_id} was accepted and is missing" for job_id in set(accepted.values()) - known)
    yield from (f"{job_id} belongs to no accepted request" for job_id in known - set(accepted.values()))
    yield from (f"{job_id} answers {n} keys" for job_id, n in Counter(accepted.values()).items() if n > 1)


def _check_ended_jobs(now: EndedJobs, seen: EndedJobs) -> Iterator[str]:
    yield from (
        f"{job_id} ended as {end} and is {now.get(job_id)}" for job_id, end in seen.items() if now.get(job_id) != end
    )


def _check_webhooks(session: Session, received: Mapping[str, int]) -> Iterator[str]:
    """Check that each end has one message, which was delivered at least once."""
    messages = session.scalars(select(WebhookDelivery)).all()
    yield from (
        f"{m.id} about {m.job_id} is {m.status} and came {received.get(m.id, 0)} times"
        for m in messages
        if m.status != "delivered" or not received.get(m.id)
    )
    sent = Counter((m.job_id, m.type) for m in messages)
    over = {
        (job.id, f"edit.{job.status}") for job in session.scalars(select(Job).where(Job.status.in_(TERMINAL_STATUSES)))
    }
    if set(sent) != over or set(sent.values()) > {1}:
        yield f"messages {sent} about {over}"


def check_events(session: Session, job: Job) -> Iterator[str]:
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
        yield "it has an outbox message although it has ended"
    if job.status in TERMINAL_STATUSES and session.scalar(
        select(Sample.number).where(Sample.job_id == job.id).limit(1)
    ):
        yield "it has sample images although it has ended"


def _check_files(session: Session, job: Job, blobs: Mapping[str, bytes]) -> Iterator[str]:
    """Check for one complete result, or a failure without files."""
    files = {row.name: row for row in session.scalars(select(Artifact).where(Artifact.job_id == job.id))}
    if job.status != "succeeded":
        if files or job.attempt < job.max_attempts:
            yield f"{job.status} after {job.attempt} attempts, with {len(files)} files: {job.error}"
        return
    for row in files.values():
        if row.overlay is None and row.sha256 not in blobs:
            yield f"{row.name} is not there"
    if (manifest := files.pop(MANIFEST, None)) is None or manifest.sha256 != job.manifest_sha256:
        yield "no manifest"
        return
    listed = json.loads(blobs.get(manifest.sha256, b'{"files": []}'))["files"]
    if {file["name"]: file["sha256"] for file in listed} != {name: row.sha256 for name, row in files.items()}:
        yield "the manifest names other files"


def check_blobs(blobs: Mapping[str, bytes]) -> Iterator[str]:
    for name, content in blobs.items():
        if hashlib.sha256(content).hexdigest() != name:
            yield f"blob {name} has other contents"
