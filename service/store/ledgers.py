"""A tenant's ledger of a model: revisions one after the other, and the removals that each brought or took back.

A job computes the next revision from the one that it found. It becomes the next one only if none came in between: else the
job is done again, from the newer one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from api_schemas.edits import EditRequest
from service.store.errors import LedgerMoved
from service.store.orm import Job, LedgerEntry, Revision


@dataclass(frozen=True)
class NextRevision:
    """From one revision to the next: what a job is about to do to a ledger."""

    base_revision: int
    """The revision that it was computed from."""
    digest: str
    active: int
    """Removals that hold after it."""


def head(session: Session, tenant: str, model: str) -> Revision | None:
    """The last revision; None: there is none yet."""
    return session.scalar(_revisions(tenant, model).order_by(Revision.number.desc()).limit(1))


def revision(session: Session, tenant: str, model: str, number: int) -> Revision | None:
    """A certain one."""
    return session.get(Revision, (tenant, model, number))


def revisions(session: Session, tenant: str, model: str, *, before: int | None, limit: int) -> Sequence[Revision]:
    """Newest first, from the one before number `before`."""
    query = _revisions(tenant, model)
    if before is not None:
        query = query.where(Revision.number < before)
    return session.scalars(query.order_by(Revision.number.desc()).limit(limit)).all()


def active_entries(session: Session, tenant: str, model: str, number: int | None = None) -> Sequence[LedgerEntry]:
    """What holds in the last revision, or in a certain one, in the order in which it came."""
    own = select(LedgerEntry).where(LedgerEntry.tenant == tenant, LedgerEntry.model == model)
    if number is None:
        own = own.where(LedgerEntry.until.is_(None))
    else:
        own = own.where(LedgerEntry.since <= number, or_(LedgerEntry.until.is_(None), LedgerEntry.until > number))
    return session.scalars(own.order_by(LedgerEntry.since, LedgerEntry.job_id, LedgerEntry.position)).all()


def revision_of_job(session: Session, job_id: str) -> Revision | None:
    """The revision that a job has made."""
    return session.scalar(select(Revision).where(Revision.job_id == job_id))


def entries_of_job(session: Session, job_id: str) -> Sequence[LedgerEntry]:
    """What an edit brought, whether or not it still holds."""
    return session.scalars(select(LedgerEntry).where(LedgerEntry.job_id == job_id).order_by(LedgerEntry.position)).all()


def advance(session: Session, job: Job, step: NextRevision, *, now: datetime) -> None:
    """Add the revision that a job has made, in the transaction that ends the job.

    Raises:
        LedgerMoved: another job was quicker.
    """
    last = head(session, job.tenant, job.model)
    if (last.number if last else 0) != step.base_revision:
        raise LedgerMoved(f"the ledger of {job.model} has moved on from revision {step.base_revision}.")
    number = step.base_revision + 1
    session.add(
        Revision(
            tenant=job.tenant,
            model=job.model,
            number=number,
            job_id=job.id,
            digest=step.digest,
            active=step.active,
            created_at=now,
        )
    )
    try:
        session.flush()
    except IntegrityError as error:  # two that are as quick collide here, on the primary key
        raise LedgerMoved(f"the ledger of {job.model} has got revision {number} meanwhile.") from error
    if job.revokes:
        gone = update(LedgerEntry).where(LedgerEntry.job_id == job.revokes, LedgerEntry.until.is_(None))
        session.execute(gone.values(until=number))
    else:
        session.add_all(_entries(job, number))


def _entries(job: Job, number: int) -> list[LedgerEntry]:
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
            since=number,
            until=None,
        )
        for position, removal in enumerate(request.removals)
    ]


def _revisions(tenant: str, model: str) -> Select[Revision]:
    return select(Revision).where(Revision.tenant == tenant, Revision.model == model)
