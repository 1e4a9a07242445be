"""The calibrations of base models. A calibration is found by the digest of the base model's weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from api_schemas.jobs import InstrumentFigures
from service.store import registered_files
from service.store.base_models import RegisteredModel
from service.store.failpoints import failpoint
from service.store.orm import Artifact, Job, ModelCalibration


@dataclass(frozen=True)
class NewCalibration:
    """The result of a calibration job."""

    digest: str
    """Digest of the base model's weights."""
    judge: str
    figures: Sequence[InstrumentFigures]


def record(session: Session, job: Job, new: NewCalibration, revision: str | None, *, now: datetime) -> None:
    """Record the calibration that a job made, in the transaction that ends the job. It replaces an earlier one.

    Args:
        revision: the commit id of the model's files, or None if they have no digests.
    """
    session.merge(
        ModelCalibration(
            digest=new.digest,
            job_id=job.id,
            model=job.model,
            revision=revision,
            judge=new.judge,
            figures=[figures.model_dump(mode="json") for figures in new.figures],
            created_at=now,
        )
    )
    failpoint("calibration.written")


def of_model(session: Session, model_id: str, revision: str | None) -> ModelCalibration | None:
    """Return the latest calibration of a model with the files that it has now, or None."""
    same_files = ModelCalibration.revision.is_not_distinct_from(revision)
    same_model = and_(ModelCalibration.model == model_id, same_files)
    found = same_model if revision is None else or_(same_model, ModelCalibration.revision == revision)
    return session.scalar(select(ModelCalibration).where(found).order_by(ModelCalibration.created_at.desc()).limit(1))


def files(session: Session, digest: str) -> Sequence[Artifact]:
    """Return the files of the calibration of the base model with these weights; empty if there is none."""
    job_id = select(ModelCalibration.job_id).where(ModelCalibration.digest == digest).scalar_subquery()
    return session.scalars(select(Artifact).where(Artifact.job_id == job_id).order_by(Artifact.position)).all()


def current_revision(session: Session, model: RegisteredModel) -> str | None:
    """Return the commit id of a model's files, or None if they have no digests."""
    known = registered_files.load_files(session, model.id)
    return registered_files.commit_of(registered_files.current_digests(model, known))
