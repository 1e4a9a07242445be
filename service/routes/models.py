"""The base models that can be edited here."""

from fastapi import APIRouter

from api_schemas.jobs import Model, Page
from service import resources
from service.access import ReadsModels
from service.backend import Backend, BackendDep
from service.errors import NotFound
from service.store.errors import UnknownModel
from service.store.models import BaseModel

router = APIRouter(prefix="/v1/models", tags=["models"])


@router.get("", summary="List the base models")
def list_models(backend: BackendDep, caller: ReadsModels) -> Page[Model]:
    """All of them."""
    return Page[Model](data=[_resource(backend, model) for model in backend.registry.all()])


@router.get("/{model_id}", summary="Read a base model")
def read_model(model_id: str, backend: BackendDep, caller: ReadsModels) -> Model:
    """One of them."""
    try:
        return _resource(backend, backend.registry.get(model_id))
    except UnknownModel as error:
        raise NotFound(error.message, remedy=error.remedy) from error


def _resource(backend: Backend, model: BaseModel) -> Model:
    return resources.model(model, backend.phrases.limit(model))
