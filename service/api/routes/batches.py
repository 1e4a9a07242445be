"""Create and read batches of removals."""

import re
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from api_schemas.batches import CSV_COLUMNS, Batch, BatchItem, BatchRequest
from api_schemas.jobs import Page
from service.api.auth import ReadsEdits, WritesEdits
from service.api.dependencies import AppStateDep
from service.api.job_replies import IdempotencyKey, accepted_response, idempotency_scope
from service.api.paging import LongPageLimit, PageLimit
from service.api.strict_json import parse_json
from service.core import batches, csv_removals, serializers
from service.core.caller import Caller
from service.core.edits import ACCEPTED
from service.errors import UnsupportedMediaType, found
from service.store import batches as store
from service.store import orm
from service.store.ids import BATCH_ID
from service.store.orm import MAX_INTEGER, Job

router = APIRouter(prefix="/v1/batches", tags=["batches"])

BatchId = Annotated[str, Path(description="The id that `POST /v1/batches` returned.")]
CSV_TYPES = {"text/csv", "application/csv", "text/tab-separated-values", "application/vnd.ms-excel"}
FORM = "multipart/form-data"
CSV_EXAMPLE = "concept,replacement\nfox,dog face\npizza,hot dog\n"
FORM_SCHEMA = {
    "type": "object",
    "required": ["file"],
    "properties": {"file": {"type": "string", "format": "binary"}, "model": {"type": "string"}},
}
REQUEST_BODY = {
    "requestBody": {
        "required": True,
        "description": f"JSON, or CSV with a header, also as a form's file. CSV columns: {', '.join(CSV_COLUMNS)}.",
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/BatchRequest"}},
            "text/csv": {"schema": {"type": "string"}, "example": CSV_EXAMPLE},
            FORM: {"schema": FORM_SCHEMA, "example": {"file": CSV_EXAMPLE, "model": "emoji"}},
        },
    }
}


@router.post(
    "",
    status_code=ACCEPTED,
    response_model=Batch,
    summary="Remove up to a thousand concepts",
    openapi_extra=REQUEST_BODY,
)
async def create(
    request: Request,
    app_state: AppStateDep,
    caller: WritesEdits,
    model: Annotated[str | None, Query(max_length=100, description="The base model of a CSV upload.")] = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Items are validated independently. Rejected items are listed at `items_url`; the rest form one edit and one revision of
    your ledger.

    Without `validation.enabled` no images are generated and there is no verdict.
    """
    body = await _parse_body(request, model)
    scope = idempotency_scope(app_state, caller, "POST /v1/batches", idempotency_key)
    submission = await run_in_threadpool(batches.submit, app_state, body, caller, scope)
    return accepted_response(submission, Batch.model_validate_json(submission.reply.body).url)


@router.get("", summary="List batches, newest first")
def list_batches(
    app_state: AppStateDep,
    caller: ReadsEdits,
    limit: PageLimit = 20,
    after: Annotated[str | None, Query(pattern=BATCH_ID, description="`next_cursor` of the previous page.")] = None,
) -> Page[Batch]:
    """Return a page of batches."""
    with app_state.database.read() as session:
        rows = store.list_recent(session, caller.tenant, after=after, limit=limit + 1)
        data = [serializers.batch(session, row) for row in rows]
    return serializers.page(data, limit, lambda batch: batch.id)


@router.get("/{batch_id}", summary="Read a batch")
def read(batch_id: BatchId, app_state: AppStateDep, caller: ReadsEdits) -> Batch:
    """Return the status of the batch and its edit."""
    with app_state.database.read() as session:
        return serializers.batch(session, _get_batch(session, caller, batch_id))


@router.get("/{batch_id}/items", summary="List the items of a batch")
def list_items(
    batch_id: BatchId,
    app_state: AppStateDep,
    caller: ReadsEdits,
    limit: LongPageLimit = 100,
    after: Annotated[int, Query(ge=-1, le=MAX_INTEGER, description="`next_cursor` of the previous page.")] = -1,
) -> Page[BatchItem]:
    """Return a page of items in the order in which they were sent."""
    with app_state.database.read() as session:
        batch = _get_batch(session, caller, batch_id)
        job = session.get_one(Job, batch.job_id)
        statuses = serializers.item_statuses(session, job)
        rows = store.list_items(session, batch_id, after=after, limit=limit + 1)
    return serializers.page([serializers.batch_item(row, statuses) for row in rows], limit, lambda item: item.position)


async def _parse_body(request: Request, model: str | None) -> BatchRequest:
    """Parse a JSON or CSV body.

    Raises `UnsupportedMediaType`, `MalformedJson`, `MalformedCsv`, `RequestValidationError`.
    """
    content_type = request.headers.get("content-type", "")
    media_type, content = content_type.partition(";")[0].strip().lower(), await request.body()
    if media_type == "application/json":
        sent: Any = parse_json(content)
    elif media_type == FORM or media_type in CSV_TYPES:
        sent = await run_in_threadpool(_parse_upload, content_type, content, model)
    else:
        raise UnsupportedMediaType(
            f"The media type {media_type or '(none)'} is not supported.",
            remedy=f"Send application/json, text/csv or {FORM}.",
        )
    try:
        return BatchRequest.model_validate(sent)
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from error


def _parse_upload(content_type: str, content: bytes, model: str | None) -> dict[str, Any]:
    """Return the request of a CSV file or of a form with one; the form's model counts unless the URL names another."""
    if content_type.lower().startswith(FORM):
        upload = csv_removals.parse_form(content_type, content)
    else:
        charset = _CHARSET.search(content_type)
        upload = csv_removals.CsvUpload(content, charset[1] if charset else "")
    named = model or upload.model
    return {"removals": csv_removals.parse_csv(upload.content, upload.charset)} | ({"model": named} if named else {})


_CHARSET = re.compile(r'\bcharset="?([\w.:-]+)"?', re.IGNORECASE)


def _get_batch(session: Session, caller: Caller, batch_id: str) -> orm.Batch:
    return found(store.get(session, caller.tenant, batch_id), "batch", batch_id, "/v1/batches")
