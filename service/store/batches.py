"""Batches: the removals that were sent in one request, and where each went."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.store.ids import prefixed_id
from service.store.orm import Batch, BatchItem


@dataclass(frozen=True)
class ItemCounts:
    """How many removals were sent, and how many were accepted."""

    total: int
    accepted: int


def create(session: Session, tenant: str, job_id: str, *, now: datetime) -> Batch:
    """Create a batch whose removals are performed by one job."""
    batch = Batch(id=prefixed_id("batch", now), tenant=tenant, job_id=job_id, created_at=now)
    session.add(batch)
    session.flush()
    return batch


def add_item(
    session: Session, batch: Batch, position: int, concept: str, place: int | None, errors: list[dict[str, Any]]
) -> None:
    """Add one of the batch's removals."""
    session.add(BatchItem(batch_id=batch.id, position=position, concept=concept, place=place, errors=errors))


def get(session: Session, tenant: str, batch_id: str) -> Batch | None:
    """Return the batch if it belongs to the tenant, else None."""
    batch = session.get(Batch, batch_id)
    return batch if batch and batch.tenant == tenant else None


def list_recent(session: Session, tenant: str, *, after: str | None, limit: int) -> Sequence[Batch]:
    """Return the tenant's batches, newest first, from the one after id `after`."""
    query = select(Batch).where(Batch.tenant == tenant)
    query = query if after is None else query.where(Batch.id < after)
    return session.scalars(query.order_by(Batch.id.desc()).limit(limit)).all()


def list_items(session: Session, batch_id: str, *, after: int, limit: int) -> Sequence[BatchItem]:
    """Return the items after position `after`, in order."""
    query = select(BatchItem).where(BatchItem.batch_id == batch_id, BatchItem.position > after)
    return session.scalars(query.order_by(BatchItem.position).limit(limit)).all()


def count_items(session: Session, batch_id: str) -> ItemCounts:
    """Count the items and the accepted items of a batch."""
    query = select(func.count(), func.count(BatchItem.place)).where(BatchItem.batch_id == batch_id)
    total, accepted = session.execute(query).one()
    return ItemCounts(total, accepted)
