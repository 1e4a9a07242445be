"""The base models: list, register, change and delete them."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from api_schemas.jobs import Model, ModelStatus, Page
from api_schemas.registrations import ModelRegistration, ModelUpdate
from service.api.auth import ReadsModels, WritesModels
from service.api.dependencies import AppStateDep
from service.api.job_replies import IdempotencyKey, accepted_response, idempotency_scope
from service.api.paging import LongPageLimit
from service.api.strict_json import StrictJsonRoute
from service.core import edits, model_resources, registrations, serializers
from service.core.app_state import AppState
from service.core.model_resources import ModelFilter
from service.errors import NotFound
from service.store.base_models import MODEL_ID, RegisteredModel
from service.store.errors import UnknownModel

router = APIRouter(prefix="/v1/models", tags=["models"], route_class=StrictJsonRoute)

ModelId = Annotated[str, Path(description="The id in `GET /v1/models`.", examples=["emoji"])]


@router.get("", summary="List the base models")
def list_models(
    app_state: AppStateDep,
    caller: ReadsModels,
    limit: LongPageLimit = 1000,
    after: Annotated[
        str | None, Query(pattern=f"^{MODEL_ID.pattern}$", description="`next_cursor` of the previous page.")
    ] = None,
    label: Annotated[list[str], Query(max_length=50, description="Only models with all of these labels.")] = [],  # noqa: B006
    family: Annotated[str | None, Query(max_length=100, description="Only models of this family.")] = None,
    encoder: Annotated[
        str | None, Query(max_length=71, description="Only models with a text encoder of this digest.")
    ] = None,
    status: Annotated[ModelStatus | None, Query(description="Only models with this status.")] = None,
) -> Page[Model]:
    """Return a page of base models, by id: those that were registered, and those of the settings."""
    wanted = ModelFilter(frozenset(label), family, encoder, status)
    models = model_resources.select(app_state, caller.tenant, wanted, after=after, limit=limit + 1)
    return serializers.page(models, limit, lambda model: model.id)


@router.post("", status_code=edits.ACCEPTED, response_model=Model, summary="Register a base model")
def register(
    body: ModelRegistration,
    app_state: AppStateDep,
    caller: WritesModels,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Queue a job that reads and hashes the files. The model can be edited when its status is `admitted`.

    A model that is registered with the same id and source is read again.
    """
    scope = idempotency_scope(app_state, caller, "POST /v1/models", idempotency_key)
    pending = registrations.pending_registration(app_state, caller, scope, body)
    submission = edits.submit(app_state, pending)
    app_state.registry.forget(body.id)
    model = model_resources.read(app_state, caller.tenant, get_model(app_state, body.id))
    return accepted_response(submission, model.url, model.model_dump_json())


@router.get("/{model_id}", summary="Read a base model")
def read_model(model_id: ModelId, app_state: AppStateDep, caller: ReadsModels) -> Model:
    """Return the status, the editable text encoders and the files of a base model."""
    return model_resources.read(app_state, caller.tenant, get_model(app_state, model_id))


@router.patch("/{model_id}", summary="Change a base model")
def update_model(model_id: ModelId, body: ModelUpdate, app_state: AppStateDep, caller: WritesModels) -> Model:
    """Change the fields that are sent. The model is read again if its components or its profile change."""
    registrations.update(app_state, caller, get_model(app_state, model_id), body)
    return model_resources.read(app_state, caller.tenant, get_model(app_state, model_id))


@router.delete("/{model_id}", status_code=204, summary="Delete the registration of a base model")
def delete_model(
    model_id: ModelId,
    app_state: AppStateDep,
    caller: WritesModels,
    force: Annotated[
        bool, Query(description="Even if unfinished jobs or active removals depend on the model.")
    ] = False,
) -> Response:
    """Forget the model and its calibration. Its files stay, and so do published edits, except full weights."""
    registrations.delete(app_state, caller, get_model(app_state, model_id), force=force)
    return Response(status_code=204)


def get_model(app_state: AppState, model_id: str) -> RegisteredModel:
    """Return the model with this id. Raises `NotFound`."""
    try:
        return app_state.registry.get(model_id)
    except UnknownModel as error:
        raise NotFound(error.message, remedy=error.remedy) from error
