"""The registered base models."""

from typing import Annotated

from fastapi import APIRouter, Path

from api_schemas.jobs import Model, Page
from service.api.auth import ReadsModels
from service.api.dependencies import AppStateDep
from service.core import serializers
from service.core.app_state import AppState
from service.errors import NotFound
from service.store import calibrations
from service.store.base_model_registration import registered_files
from service.store.base_models import RegisteredModel
from service.store.errors import UnknownModel

router = APIRouter(prefix="/v1/models", tags=["models"])

ModelId = Annotated[str, Path(description="The id in `GET /v1/models`.", examples=["emoji"])]


@router.get("", summary="List the base models")
def list_models(app_state: AppStateDep, caller: ReadsModels) -> Page[Model]:
    """Return all registered base models on one page."""
    return Page[Model](data=[_model_resource(app_state, model) for model in app_state.registry.all()])


@router.get("/{model_id}", summary="Read a base model")
def read_model(model_id: ModelId, app_state: AppStateDep, caller: ReadsModels) -> Model:
    """Return the editable text encoders and the files of a base model."""
    return _model_resource(app_state, get_model(app_state, model_id))


def get_model(app_state: AppState, model_id: str) -> RegisteredModel:
    """Return the model with this id. Raises `NotFound`."""
    try:
        return app_state.registry.get(model_id)
    except UnknownModel as error:
        raise NotFound(error.message, remedy=error.remedy) from error


def _model_resource(app_state: AppState, model: RegisteredModel) -> Model:
    with app_state.database.read() as session:
        known = registered_files(session, model.id)
        calibrated = calibrations.of_model(session, model.id, calibrations.current_revision(session, model))
    return serializers.model(model, app_state.token_limits.max_phrase_tokens(model), known, calibrated)
