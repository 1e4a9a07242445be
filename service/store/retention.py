"""Maintenance: deletes old jobs, then collects garbage."""

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Select, and_, delete, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from api_schemas.jobs import TERMINAL_STATUSES
from service.store import gc
from service.store.gc import CollectedGarbage
from service.store.orm import (
    Artifact,
    Attempt,
    Batch,
    BatchItem,
    Event,
    IdempotencyKey,
    Job,
    LedgerEntry,
    ModelCalibration,
    Revision,
    Sample,
    WebhookDelivery,
)
from service.store.settings import StoreSettings

MAINTENANCE_INTERVAL = timedelta(hours=1)


def delete_old_jobs(session: Session, *, before: datetime) -> int:
    """Delete the jobs that ended before `before`. Returns their number.

    A job that created a ledger revision is kept, because the ledger refers to it; its files are deleted unless the revision is
    the latest. A job that made the current calibration of a base model is kept with its files. Other jobs are deleted with
    everything that belongs to them.
    """
    ended = _ended(before)
    calibrations = select(ModelCalibration.job_id)
    referenced = select(Revision.job_id).union(select(LedgerEntry.job_id), calibrations)
    in_use = _jobs_of_current_revisions().union(calibrations)
    session.execute(delete(Artifact).where(_job_in(Artifact.job_id, and_(ended, Job.id.not_in(in_use)))))
    without_job = and_(WebhookDelivery.job_id.is_(None), WebhookDelivery.created_at < before)
    session.execute(delete(WebhookDelivery).where(without_job))
    return _delete_jobs(session, and_(ended, Job.id.not_in(referenced)))


def delete_old_previews(session: Session, *, before: datetime) -> int:
    """Delete the previews that ended before `before`, with their prompts and images. Returns their number.

    Replies that are stored under an Idempotency-Key contain prompts too.
    """
    replies = and_(IdempotencyKey.route.like("POST /v1/%/previews"), IdempotencyKey.created_at < before)
    session.execute(delete(IdempotencyKey).where(replies))
    return _delete_jobs(session, and_(Job.kind == "preview", _ended(before)))


def _ended(before: datetime) -> ColumnElement[bool]:
    return and_(Job.status.in_(TERMINAL_STATUSES), Job.finished_at < before)


def _delete_jobs(session: Session, deletable: ColumnElement[bool]) -> int:
    """Delete jobs with everything that belongs to them. Returns their number."""
    batches = select(Batch.id).where(_job_in(Batch.job_id, deletable))
    session.execute(delete(BatchItem).where(BatchItem.batch_id.in_(batches)))
    for table in (Artifact, Batch, Sample, WebhookDelivery, Event, Attempt):
        session.execute(delete(table).where(_job_in(table.job_id, deletable)))
    return len(session.scalars(delete(Job).where(deletable).returning(Job.id)).all())


def _job_in(
    job_id: InstrumentedAttribute[str] | InstrumentedAttribute[str | None], jobs: ColumnElement[bool]
) -> ColumnElement[bool]:
    return job_id.in_(select(Job.id).where(jobs))


def _jobs_of_current_revisions() -> Select[str]:
    """Select the jobs that created the latest revision of each ledger."""
    last = select(Revision.tenant, Revision.model, func.max(Revision.number).label("number"))
    heads = last.group_by(Revision.tenant, Revision.model).subquery()
    same = and_(Revision.tenant == heads.c.tenant, Revision.model == heads.c.model, Revision.number == heads.c.number)
    return select(Revision.job_id).join(heads, same)


def run_maintenance(settings: StoreSettings, now: datetime, *, dry_run: bool = False) -> CollectedGarbage:
    """Delete old jobs, cached and unreferenced data. A dry run only counts the unreferenced data."""
    database = settings.database()
    if not dry_run:
        with database.write() as session:
            delete_old_previews(session, before=now - timedelta(hours=settings.preview_hours))
            if settings.retention_days:
                delete_old_jobs(session, before=now - timedelta(days=settings.retention_days))
    if not dry_run and (cache := settings.bucket_cache()):
        cache.expire(now)
    return gc.collect(database, settings.blobs(), settings.data_dir / "work", now=now, dry_run=dry_run)
