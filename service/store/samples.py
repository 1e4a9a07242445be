"""Sample images of running jobs: small, few, and deleted in the transaction that ends the job."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from api_schemas.samples import MAX_SAMPLES
from service.store.orm import Sample, add_rows

KEPT_SAMPLES = 2 * MAX_SAMPLES
"""Those that were listed before are still read by a client that has just got the list."""


@dataclass(frozen=True)
class NewSample:
    """A sample to store. The images are WebP; `after` is None until the edited model has generated it."""

    prompt: str
    seed: int
    before: bytes
    after: bytes | None


def add(session: Session, job_id: str, new: Sequence[NewSample]) -> None:
    """Store samples, oldest first, and delete all but the newest ones.

    The transaction must already hold the lock of the job's row.
    """
    last = session.scalar(select(func.max(Sample.number)).where(Sample.job_id == job_id)) or 0
    rows = [{"job_id": job_id, "number": number, **vars(one)} for number, one in enumerate(new, last + 1)]
    add_rows(session, Sample, rows)
    oldest = last + len(rows) - KEPT_SAMPLES
    session.execute(delete(Sample).where(Sample.job_id == job_id, Sample.number <= oldest))


def newest_first(session: Session, job_id: str) -> Sequence[Sample]:
    """Return the newest samples of a job."""
    newest = select(Sample).where(Sample.job_id == job_id).order_by(Sample.number.desc())
    return session.scalars(newest.limit(MAX_SAMPLES)).all()


def delete_all(session: Session, job_id: str) -> None:
    """Delete the samples of a job."""
    session.execute(delete(Sample).where(Sample.job_id == job_id))
