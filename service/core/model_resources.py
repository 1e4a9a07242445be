"""Base models as API resources."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy.orm import Session

from api_schemas.jobs import EditableEncoder, HubCommit, Model, ModelCalibration, ModelFile, ModelStatus
from service.core import serializers
from service.core.app_state import AppState
from service.store import admission, calibrations, fleet_groups, orm
from service.store.admission import Exclusion
from service.store.base_models import RegisteredModel
from service.store.model_registrations import states
from service.store.registered_files import COMPONENTS, MODEL, commit_of, digests_of


@dataclass(frozen=True)
class ModelFilter:
    """Which models to list. None matches any value."""

    labels: frozenset[str] = frozenset()
    family: str | None = None
    encoder: str | None = None
    """Digest of a text encoder."""
    status: ModelStatus | None = None

    def matches(self, status: ModelStatus, row: orm.ModelRegistration | None) -> bool:
        """Return whether a model has all of these properties."""
        return self.matches_row(row) and self.status in (None, status)

    def matches_row(self, row: orm.ModelRegistration | None) -> bool:
        """Return whether a registration has the labels, the family and the encoder."""
        return fleet_groups.has_properties(row, self.labels, self.family, self.encoder)


@dataclass(frozen=True)
class Registration:
    """What the database knows about a model."""

    row: orm.ModelRegistration | None = None
    files: Sequence[orm.RegisteredFile] = ()
    exclusion: Exclusion | None = None
    """Why the tenant is not served the model, if it is admitted otherwise."""

    def admission(self, model: RegisteredModel) -> Exclusion:
        """Return the status of the model for the tenant, and the error if it is refused."""
        own = Exclusion(model.status, model.error)
        return self.exclusion or own if model.status == "admitted" else own

    def part(self, part: str) -> list[orm.RegisteredFile]:
        """Return the recorded files of a part of the model."""
        return [file for file in self.files if file.part == part]


def select(app_state: AppState, tenant: str, wanted: ModelFilter, *, after: str | None, limit: int) -> list[Model]:
    """Return up to `limit` models that match a filter, as a tenant sees them, by id, from the one after `after`."""
    models = [model for model in app_state.registry.all() if after is None or model.id > after]
    with app_state.database.read() as session:
        found = _registrations(session, tenant, models)
        matching = [one for one in models if wanted.matches(found[one.id].admission(one).status, found[one.id].row)][
            :limit
        ]
        return [_resource(app_state, session, model, found[model.id]) for model in matching]


def read(app_state: AppState, tenant: str, model: RegisteredModel) -> Model:
    """Return a base model as a tenant sees it."""
    with app_state.database.read() as session:
        return _resource(app_state, session, model, _registrations(session, tenant, [model])[model.id])


def _registrations(session: Session, tenant: str, models: Sequence[RegisteredModel]) -> dict[str, Registration]:
    """Return what is registered for the paths of some models, by id."""
    paths = {model.id: str(model.path) for model in models}
    excluded = admission.exclusions(session, tenant, paths)
    found = {name: Registration(exclusion=excluded.get(name)) for name in paths}
    for row, files in states(session, list(paths)):
        if row.path == paths[row.id]:
            found[row.id] = replace(found[row.id], row=row, files=files)
    return found


def _resource(app_state: AppState, session: Session, model: RegisteredModel, found: Registration) -> Model:
    digests = digests_of(model.paths(), found.part(MODEL))
    revision, row, admitted = commit_of(digests), found.row, found.admission(model)
    calibrated = calibrations.of_model(session, model.id, revision)
    return Model(
        id=model.id,
        status=admitted.status,
        error=admitted.error,
        source=model.source,
        hub=HubCommit.model_validate(row.hub) if row and row.hub else None,
        labels=row.labels if row else [],
        family=row.family if row else None,
        digest=row.digest if row else None,
        revision=revision,
        licence=(row.licence if row else None) or model.licence,
        editable=_encoders(model, row),
        max_phrase_tokens=app_state.token_limits.max_phrase_tokens(model),
        calibration=ModelCalibration.model_validate(calibrated, from_attributes=True) if calibrated else None,
        profile=dict(model.profile) if model.profile else None,
        files=_files(model.paths(), digests),
        components=_components(model, found),
        url=f"/v1/models/{model.id}",
    )


def _encoders(model: RegisteredModel, row: orm.ModelRegistration | None) -> list[EditableEncoder]:
    """Return the editable text encoders: as a worker has read them, else from the configurations."""
    if row and row.encoders is not None:
        return [EditableEncoder.model_validate(encoder) for encoder in row.encoders]
    return [serializers.encoder(component, config) for component, config in model.encoders.items()]


def _components(model: RegisteredModel, found: Registration) -> list[ModelFile] | None:
    paths = model.component_paths()
    return _files(paths, digests_of(paths, found.part(COMPONENTS))) if model.components else None


def _files(paths: Mapping[str, Path], digests: Mapping[str, str | None]) -> list[ModelFile]:
    return [ModelFile(name=name, size=path.stat().st_size, sha256=digests[name]) for name, path in paths.items()]
