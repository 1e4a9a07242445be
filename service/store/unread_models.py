"""Queue jobs that read the base models of the settings and those of `expunge models add`, which no request registered."""

from datetime import datetime

from sqlalchemy.orm import Session

from api_schemas.access import DEFAULT_TENANT
from service.store import model_registrations
from service.store.base_models import ModelRegistry, RegisteredModel
from service.store.orm import ModelRegistration
from service.store.registered_files import MODEL, current_digests, load_files

ACTOR = "service"


def queue_unread(session: Session, registry: ModelRegistry, *, now: datetime) -> list[str]:
    """Queue a job for each model that was not read yet, or whose files the operator has replaced. Returns their ids."""
    unread = [
        model for model in registry.all() if model.source in ("settings", "operator") and _is_unread(session, model)
    ]
    for model in unread:
        row = model_registrations.get_or_add(session, model, now=now)
        model_registrations.start_reading(
            session, row, tenant=DEFAULT_TENANT, api_key_id=ACTOR, now=now, priority="low"
        )
    return [model.id for model in unread]


def _is_unread(session: Session, model: RegisteredModel) -> bool:
    """Return whether a job has to read the model. One that failed is not repeated until the model is registered again."""
    row = session.get(ModelRegistration, model.id)
    if row is None or row.path != str(model.path):
        return True
    if row.job_id is not None:
        return False
    return row.encoders is None or (model.source == "settings" and _has_changed(session, model))


def _has_changed(session: Session, model: RegisteredModel) -> bool:
    known = load_files(session, model.id, MODEL)
    digests = current_digests(model, known)
    return None in digests.values() or len(digests) != len(known)
