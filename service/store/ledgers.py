"""A tenant's ledger of a model: numbered revisions, and the removals that each of them added or revoked.

A job computes the next revision from the one it started with. If another job adds a revision first, the job is run again
from the newer one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import zip_longest
from typing import Any

from sqlalchemy import Select, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from api_schemas.edits import EditRequest
from service.store.errors import LedgerMoved
from service.store.orm import Job, LedgerEntry, Revision


@dataclass(frozen=True)
class NextRevision:
    """The revision that a job is about to add to a ledger."""

    base_revision: int
    """The revision it was computed from."""
    digest: str
    active: int
    """Number of active removals after it."""
    parameters: Sequence[dict[str, Any]] = ()
    """What the editor found for each removal that the job adds."""


def head(session: Session, tenant: str, model: str) -> Revision | None:
    """Return the latest revision, or None if there is none."""
    return session.scalar(_revisions(tenant, model).order_by(Revision.number.desc()).limit(1))


def revision(session: Session, tenant: str, model: str, number: int) -> Revision | None:
    """Return a revision by number, or None."""
    return session.get(Revision, (tenant, model, number))


def revisions(session: Session, tenant: str, model: str, *, before: int | None, limit: int) -> Sequence[Revision]:
    """Return revisions, newest first, from the one before number `before`."""
    query = _revisions(tenant, model)
    if before is not None:
        query = query.where(Revision.number < before)
    return session.scalars(query.order_by(Revision.number.desc()).limit(limit)).all()


def active_entries(session: Session, tenant: str, model: str, number: int | None = None) -> Sequence[LedgerEntry]:
    """Return the active removals of the latest revision, or of revision `number`, in the order in which they were added."""
    query = select(LedgerEntry).where(LedgerEntry.tenant == tenant, LedgerEntry.model == model)
    if number is None:
        query = query.where(LedgerEntry.until.is_(None))
    else:
        query = query.where(LedgerEntry.since <= number, or_(LedgerEntry.until.is_(None), LedgerEntry.until > number))
    return session.scalars(query.order_by(LedgerEntry.since, LedgerEntry.job_id, LedgerEntry.position)).all()


def jobs_withholding_names(session: Session, tenant: str, model: str) -> set[str]:
    """Return the ids of the jobs that added removals to a ledger and withhold their names."""
    added = select(LedgerEntry.job_id).where(LedgerEntry.tenant == tenant, LedgerEntry.model == model)
    withholds = Job.request["withhold_names"].as_boolean()
    return set(session.scalars(select(Job.id).where(Job.id.in_(added), withholds)))


def revision_of_job(session: Session, job_id: str) -> Revision | None:
    """Return the revision that a job added, or None."""
    return session.scalar(select(Revision).where(Revision.job_id == job_id))


def entries_of_job(session: Session, job_id: str) -> Sequence[LedgerEntry]:
    """Return the removals that an edit added, whether or not they are still active."""
    return session.scalars(select(LedgerEntry).where(LedgerEntry.job_id == job_id).order_by(LedgerEntry.position)).all()


def advance(session: Session, job: Job, next_revision: NextRevision, *, now: datetime) -> None:
    """Add the revision that a job made, in the transaction that ends the job.

    Raises:
        LedgerMoved: another job added a revision first.
    """
    latest = head(session, job.tenant, job.model)
    if (latest.number if latest else 0) != next_revision.base_revision:
        raise LedgerMoved(
            f"The ledger of {job.model} moved past revision {next_revision.base_revision} while this job was running."
        )
    number = next_revision.base_revision + 1
    session.add(
        Revision(
            tenant=job.tenant,
            model=job.model,
            number=number,
            job_id=job.id,
            digest=next_revision.digest,
            active=next_revision.active,
            created_at=now,
        )
    )
    try:
        session.flush()
    except IntegrityError as error:  # Concurrent inserts of the same revision collide on the primary key.
        raise LedgerMoved(
            f"The ledger of {job.model} moved to revision {number} while this job was running."
        ) from error
    if job.revokes:
        revoked = update(LedgerEntry).where(LedgerEntry.job_id == job.revokes, LedgerEntry.until.is_(None))
        session.execute(revoked.values(until=number))
    else:
        session.add_all(_entries(job, number, next_revision.parameters))


def _entries(job: Job, number: int, parameters: Sequence[dict[str, Any]]) -> list[LedgerEntry]:
    request = EditRequest.model_validate(job.request)
    options = request.options.model_dump(mode="json")
    return [
        LedgerEntry(
            job_id=job.id,
            position=position,
            tenant=job.tenant,
            model=job.model,
            removal=removal.model_dump(mode="json"),
            options=options,
            parameters=found,
            since=number,
            until=None,
        )
        for position, (removal, found) in enumerate(zip_longest(request.removals, parameters))
    ]


def _revisions(tenant: str, model: str) -> Select[Revision]:
    return select(Revision).where(Revision.tenant == tenant, Revision.model == model)
