"""Registrations of base models in the database, and the jobs that read the models' files."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Select, delete, select
from sqlalchemy.orm import Session, lazyload

from api_schemas.edits import Priority
from api_schemas.jobs import TERMINAL_STATUSES, JobError
from api_schemas.registrations import ModelDescription, RegistrationTask
from service.store import admission, jobs
from service.store.base_models import RegisteredModel
from service.store.failpoints import failpoint
from service.store.jobs import NewJob
from service.store.orm import Job, LedgerEntry, ModelRegistration, RegisteredFile, add_rows

UNFINISHED = JobError(code="registration_ended", message="the files were not read: the job was canceled or has expired")


@dataclass(frozen=True)
class FileDigest:
    """The state and the digest of a file of a model or of its components."""

    part: str
    name: str
    size: int
    mtime_ns: int
    sha256: str


@dataclass(frozen=True)
class NewDescription:
    """The result of a registration job."""

    path: Path
    description: ModelDescription
    files: Sequence[FileDigest]


def load(session: Session, model_id: str | None = None) -> Mapping[str, RegisteredModel]:
    """Return the registered models by id: all, or the one with this id."""
    query = _with_jobs() if model_id is None else _with_jobs().where(ModelRegistration.id == model_id)
    return {row.id: as_model(row, job) for row, job in session.execute(query)}


def as_model(row: ModelRegistration, job: Job | None) -> RegisteredModel:
    """Return a registered model. While it has a job, its files are being read; it is refused if the job did not succeed.

    Models that the operator provides are admitted before they have been read.
    """
    status, error = row.status, None
    if row.job_id and row.source in ("path", "hub"):
        is_pending = job is not None and job.status not in TERMINAL_STATUSES
        status = "registering" if is_pending else "refused"
        error = None if is_pending else JobError.model_validate(job.error) if job and job.error else UNFINISHED
    return RegisteredModel(
        id=row.id,
        path=Path(row.path),
        components=Path(row.components) if row.components else None,
        profile=row.profile,
        source=row.source,  # type: ignore[arg-type]
        status=status,  # type: ignore[arg-type]
        error=error,
    )


def get_or_add(session: Session, model: RegisteredModel, *, now: datetime) -> ModelRegistration:
    """Return the registration of a model. One of the settings gets one, if it has none for its path yet."""
    row = session.get(ModelRegistration, model.id)
    if row is None or row.path != str(model.path):
        columns = {"id": model.id, "path": str(model.path), "source": model.source, "registered_at": now}
        row = session.merge(ModelRegistration(**columns, labels=row.labels if row else []))
    return row


def reading_job(model_id: str, tenant: str, api_key_id: str, priority: Priority = "normal") -> NewJob:
    """Return the job that reads the files of a model."""
    return NewJob(RegistrationTask(model=model_id, priority=priority), api_key_id, tenant, "registration")


def start_reading(
    session: Session,
    row: ModelRegistration,
    *,
    tenant: str,
    api_key_id: str,
    now: datetime,
    priority: Priority = "normal",
) -> Job:
    """Queue the job that reads the files of a model."""
    job = jobs.create(session, reading_job(row.id, tenant, api_key_id, priority), now=now)
    wait_for(session, row, job, now=now)
    return job


def wait_for(session: Session, row: ModelRegistration, job: Job, *, now: datetime) -> None:
    """Make a job the one that the registration waits for. An earlier one is canceled."""
    if row.job_id and row.job_id != job.id:
        jobs.cancel(session, row.job_id, now=now)
    row.job_id = job.id


def record(session: Session, job: Job, new: NewDescription, *, now: datetime) -> None:
    """Store what a job has read, in the transaction that ends the job. Nothing, if the model was changed in the meantime."""
    row = session.get(ModelRegistration, job.model)
    if row is None or row.job_id != job.id:
        return
    is_new_content = row.digest != new.description.digest
    row.job_id, row.path = None, str(new.path)
    row.family, row.digest = new.description.family, new.description.digest
    row.encoders = [encoder.model_dump(mode="json") for encoder in new.description.encoders]
    session.execute(delete(RegisteredFile).where(RegisteredFile.model_id == row.id))
    add_rows(session, RegisteredFile, [{"model_id": row.id, **vars(file)} for file in new.files])
    session.flush()
    admission.apply_rules(session, row, is_new_content=is_new_content, now=now)
    admission.announce(session, job.tenant, [row.id], now=now, decided=True)
    failpoint("model.written")


def use_count(session: Session, model_id: str) -> tuple[int, int]:
    """Count the unfinished jobs and the active removals of a model, of all tenants. Its registration is no use."""
    unfinished = select(Job.id).where(
        Job.model == model_id, Job.status.not_in(TERMINAL_STATUSES), Job.kind != "registration"
    )
    active = select(LedgerEntry.job_id).where(LedgerEntry.model == model_id, LedgerEntry.until.is_(None))
    return len(session.scalars(unfinished).all()), len(session.scalars(active).all())


def states(session: Session, ids: Sequence[str]) -> Iterator[tuple[ModelRegistration, Sequence[RegisteredFile]]]:
    """Yield the registrations with these ids, with their recorded files."""
    files: dict[str, list[RegisteredFile]] = {}
    query = select(RegisteredFile).where(RegisteredFile.model_id.in_(ids)).order_by(RegisteredFile.name)
    for file in session.scalars(query):
        files.setdefault(file.model_id, []).append(file)
    for row in session.scalars(select(ModelRegistration).where(ModelRegistration.id.in_(ids))):
        yield row, files.get(row.id, [])


def _with_jobs() -> Select[ModelRegistration, Job]:
    joined = select(ModelRegistration, Job).outerjoin(Job, Job.id == ModelRegistration.job_id)
    return joined.options(lazyload(Job.artifacts))
