"""The base models that can be edited here."""

from typing import Annotated

from fastapi import APIRouter, Path

from api_schemas.jobs import Model, Page
from service.api.auth import ReadsModels
from service.core import serializers
from service.core.app_state import Backend, BackendDep
from service.errors import NotFound
from service.store.base_model_registration import digests
from service.store.base_models import RegisteredModel
from service.store.errors import UnknownModel

router = APIRouter(prefix="/v1/models", tags=["models"])

ModelId = Annotated[str, Path(description="As `GET /v1/models` lists it.", examples=["emoji"])]


@router.get("", summary="List the base models")
def list_models(backend: BackendDep, caller: ReadsModels) -> Page[Model]:
    """All of them."""
    return Page[Model](data=[_resource(backend, model) for model in backend.registry.all()])


@router.get("/{model_id}", summary="Read a base model")
def read_model(model_id: ModelId, backend: BackendDep, caller: ReadsModels) -> Model:
    """One of them."""
    return _resource(backend, registered(backend, model_id))


def registered(backend: Backend, model_id: str) -> RegisteredModel:
    """The model of an id. Raises `NotFound`."""
    try:
        return backend.registry.get(model_id)
    except UnknownModel as error:
        raise NotFound(error.message, remedy=error.remedy) from error


def _resource(backend: Backend, model: RegisteredModel) -> Model:
    with backend.database.read() as session:
        known = digests(session, model.id)
    return serializers.model(model, backend.phrases.limit(model), known)
