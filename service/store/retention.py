"""Forgetting: what an operator need not, or must not, keep for ever."""

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Select, and_, delete, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from api_schemas.jobs import TERMINAL_STATUSES
from service.store import gc, retention
from service.store.gc import CollectedGarbage
from service.store.orm import Artifact, Attempt, Batch, BatchItem, Event, Job, LedgerEntry, Revision, WebhookDelivery
from service.store.settings import StoreSettings


def delete_old_jobs(session: Session, *, before: datetime) -> int:
    """Forget the jobs that ended before `before`. Returns how many.

    A job that made a revision of a ledger stays, for the ledger says by it who asked for what; its files go, unless the
    revision is the ledger's last: those are the weights that are in force. All other jobs go with everything about them.
    """
    over = and_(Job.status.in_(TERMINAL_STATUSES), Job.finished_at < before)
    made = select(Revision.job_id).union(select(LedgerEntry.job_id))
    session.execute(
        delete(Artifact).where(_job_in(Artifact.job_id, and_(over, Job.id.not_in(_jobs_of_current_revisions()))))
    )
    gone = and_(over, Job.id.not_in(made))
    batches = select(Batch.id).where(_job_in(Batch.job_id, gone))
    session.execute(delete(BatchItem).where(BatchItem.batch_id.in_(batches)))
    for table in (Batch, WebhookDelivery, Event, Attempt):
        session.execute(delete(table).where(_job_in(table.job_id, gone)))
    return len(session.scalars(delete(Job).where(gone).returning(Job.id)).all())


def _job_in(job_id: InstrumentedAttribute[str], jobs: ColumnElement[bool]) -> ColumnElement[bool]:
    return job_id.in_(select(Job.id).where(jobs))


def _jobs_of_current_revisions() -> Select[str]:
    """The jobs that made the last revision of each ledger."""
    last = select(Revision.tenant, Revision.model, func.max(Revision.number).label("number"))
    heads = last.group_by(Revision.tenant, Revision.model).subquery()
    same = and_(Revision.tenant == heads.c.tenant, Revision.model == heads.c.model, Revision.number == heads.c.number)
    return select(Revision.job_id).join(heads, same)


MAINTENANCE_INTERVAL = timedelta(hours=1)


def run_maintenance(settings: StoreSettings, now: datetime, *, dry_run: bool = False) -> CollectedGarbage:
    """Forget what is too old, then remove what nothing refers to. `dry`: only count the latter."""
    database = settings.database()
    if settings.retention_days and not dry_run:
        with database.write() as session:
            retention.delete_old_jobs(session, before=now - timedelta(days=settings.retention_days))
    return gc.collect(database, settings.blobs(), settings.data_dir / "work", now=now, dry_run=dry_run)
