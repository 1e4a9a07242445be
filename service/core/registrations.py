"""Register, change and delete base models. A worker reads and hashes the files of a registered model."""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from api_schemas.problems import invalid_field
from api_schemas.registrations import ModelRegistration, ModelUpdate
from service.core.app_state import AppState
from service.core.caller import Caller
from service.core.edits import Acceptance, PendingJob
from service.core.quotas import JobQuota
from service.errors import InvalidRequest, ModelConflict, ModelInUse, NotFound
from service.settings import ServiceSettings
from service.store import admission, audit, jobs, model_registrations, orm, registered_files
from service.store.audit import AuditEntry
from service.store.base_models import RegisteredModel
from service.store.errors import PathNotAllowed, RefusedModel
from service.store.failpoints import failpoint
from service.store.idempotency import Scope
from service.store.jobs import NewJob
from service.store.model_paths import resolve_model_path
from service.store.orm import Job

READ_AGAIN = {"components", "profile"}
"""Fields whose change makes a worker read the model again."""


@dataclass(frozen=True, eq=False)
class PendingRegistration(PendingJob):
    """A POST that registers a base model."""

    registration: ModelRegistration
    columns: dict[str, Any]
    """The columns of the registration."""

    @property
    def fingerprint(self) -> str:
        """A digest of the request."""
        return f"sha256:{hashlib.sha256(self.registration.model_dump_json().encode()).hexdigest()}"

    def admit(self, session: Session, quota: JobQuota) -> NewJob:
        """Raise `ModelConflict`, `TooManyJobs`."""
        row = session.get(orm.ModelRegistration, self.registration.id)
        if row and (row.path, row.hub) != (self.columns["path"], self.columns["hub"]):
            raise ModelConflict(
                f'Another model is registered as "{row.id}".', remedy="Choose another id, or delete that model first."
            )
        quota.reserve(self.caller.tenant)
        return model_registrations.reading_job(self.registration.id, self.caller.tenant, self.caller.key_id)

    def complete(self, session: Session, job: Job, now: datetime) -> Acceptance:
        """Store the registration, and reply with the id of the model."""
        row = session.merge(orm.ModelRegistration(registered_at=now, **self.columns))
        model_registrations.wait_for(session, row, job, now=now)
        failpoint("model.registered")
        details = {"job": job.id, "source": row.source, "labels": row.labels}
        entry = AuditEntry(self.caller.tenant, self.caller.key_id, "model.register", row.id, details)
        return Acceptance(json.dumps({"id": row.id}), [entry])


def pending_registration(
    app_state: AppState, caller: Caller, scope: Scope | None, body: ModelRegistration
) -> PendingRegistration:
    """Check where the files of a model are. Raises `InvalidRequest`, `ModelConflict`."""
    path = _source_path(app_state.settings, body)
    configured = app_state.registry.configured().get(body.id)
    if configured and configured != path:
        raise configured_elsewhere(body.id)
    columns = _columns(app_state.settings, body) | {
        "id": body.id,
        "path": str(path),
        "source": "hub" if body.hub else "settings" if configured else "path",
        "hub": body.hub.model_dump(mode="json") if body.hub else None,
    }
    return PendingRegistration(caller, scope, body, columns)


def update(app_state: AppState, caller: Caller, model: RegisteredModel, change: ModelUpdate) -> None:
    """Change the fields that were sent. Raises `InvalidRequest`, `ModelInUse`."""
    columns, now = _columns(app_state.settings, change, set(change.model_fields_set)), app_state.clock()
    with app_state.database.write() as session:
        row = model_registrations.get_or_add(session, model, now=now)
        changed = {name for name, value in columns.items() if getattr(row, name) != value}
        if "profile" in changed:
            _refuse_if_in_use(session, model.id, "Revoke them first: their weights were computed with the profile.")
        for name in changed:
            setattr(row, name, columns[name])
        if "labels" in changed and row.encoders is not None:
            admission.apply_rules(session, row, is_new_content=False, now=now)
        if changed & READ_AGAIN:
            model_registrations.start_reading(session, row, tenant=caller.tenant, api_key_id=caller.key_id, now=now)
        audit.record(session, caller.tenant, caller.key_id, "model.update", model.id, now=now, fields=sorted(changed))
    app_state.registry.forget(model.id)


def delete(app_state: AppState, caller: Caller, model: RegisteredModel, *, force: bool) -> None:
    """Delete the registration of a model, and forget its calibration. Its files stay. Raises `ModelConflict`, `ModelInUse`."""
    if model.id in app_state.registry.configured():
        raise configured_elsewhere(model.id)
    now = app_state.clock()
    with app_state.database.write() as session:
        if not force:
            _refuse_if_in_use(
                session, model.id, "Wait for the jobs and revoke the removals, or repeat with ?force=true."
            )
        row = session.get(orm.ModelRegistration, model.id)
        if row is None:
            raise NotFound(f'No model "{model.id}" is registered.', remedy="GET /v1/models lists the models.")
        if row.job_id:
            jobs.cancel(session, row.job_id, now=now)
        registered_files.unregister_model(session, model.id)
        audit.record(session, caller.tenant, caller.key_id, "model.delete", model.id, now=now, forced=force)
    app_state.registry.forget(model.id)


def configured_elsewhere(model_id: str) -> ModelConflict:
    """Return the error for a model that the settings define."""
    return ModelConflict(
        f'The settings of the service define the model "{model_id}".',
        remedy="Ask the operator to change EXPUNGE_MODELS or EXPUNGE_MODELS_DIR, or choose another id.",
    )


def _refuse_if_in_use(session: Session, model_id: str, remedy: str) -> None:
    unfinished, active = model_registrations.use_count(session, model_id)
    if unfinished or active:
        raise ModelInUse(f'"{model_id}" has {unfinished} unfinished jobs and {active} active removals.', remedy=remedy)


def _source_path(settings: ServiceSettings, body: ModelRegistration) -> Path:
    if body.path is not None:
        return _allowed_path(settings, body.path, "path")
    if not settings.hub_downloads:
        raise _invalid(
            "hub",
            "hub_downloads_disabled",
            "downloads from a Hub are not allowed here",
            "Ask the operator to set EXPUNGE_HUB_DOWNLOADS, or send the path of a model.",
        )
    return settings.download_folder(body.id)


def _columns(settings: ServiceSettings, sent: ModelUpdate, names: set[str] | None = None) -> dict[str, Any]:
    """Return the columns for the fields of an update, or for those in `names`."""
    columns = sent.model_dump(mode="json", include=set(ModelUpdate.model_fields) if names is None else names)
    if sent.components is not None:
        columns["components"] = str(_allowed_path(settings, sent.components, "components"))
    return columns


def _allowed_path(settings: ServiceSettings, text: str, field: str) -> Path:
    try:
        return resolve_model_path(text, settings.allowed_model_roots, field)
    except (PathNotAllowed, RefusedModel) as error:
        raise _invalid(field, error.code, error.message, error.remedy) from error


def _invalid(field: str, code: str, message: str, remedy: str) -> InvalidRequest:
    problem = invalid_field([field], code=code, message=message, remedy=remedy)
    return InvalidRequest(f"{field}: {message}", remedy=remedy, errors=[problem])
