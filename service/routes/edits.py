"""Create, list, read and cancel edits."""

import hashlib
from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Request, Response

from api_schemas.edits import EditRequest
from api_schemas.jobs import Edit, Page, Status
from service import resources, submissions
from service.backend import ApiKeyId, Backend, BackendDep
from service.errors import InvalidIdempotencyKey, NotFound
from service.store import jobs
from service.store.idempotency import Scope
from service.store.ids import EDIT_ID
from service.store.schema import Job

router = APIRouter(prefix="/v1/edits", tags=["edits"])

RETRY_AFTER = {"Retry-After": "2"}

EditId = Annotated[str, Path(description="As `POST /v1/edits` returned it.")]


def found(job: Job | None, edit_id: str) -> Job:
    """The job, or `NotFound`."""
    if job is None:
        raise NotFound(f'there is no edit "{edit_id}".', remedy="GET /v1/edits lists yours.")
    return job


@router.post("", status_code=submissions.ACCEPTED, response_model=Edit, summary="Remove concepts from a model")
def create(
    body: EditRequest,
    backend: BackendDep,
    api_key_id: ApiKeyId,
    idempotency_key: Annotated[str | None, Header(description="Repeat safely: one key, one job.")] = None,
) -> Response:
    """Check the request and queue the job. Sent again with the same key, it returns the same job."""
    scope = _scope(api_key_id, idempotency_key)
    submission = submissions.submit(backend, body, api_key_id, scope)
    reply = submission.reply
    location = Edit.model_validate_json(reply.body).urls.self
    headers = {"Location": location, "Idempotent-Replayed": str(submission.replayed).lower(), **RETRY_AFTER}
    return _json(reply.body, reply.status_code, headers)


@router.get("", summary="List edits, newest first")
def list_edits(
    backend: BackendDep,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: Annotated[str | None, Query(pattern=EDIT_ID, description="`next_cursor` of the last page.")] = None,
    status: Annotated[Status | None, Query()] = None,
    model: Annotated[str | None, Query(max_length=100)] = None,
) -> Page[Edit]:
    """One page."""
    with backend.database.read() as session:
        rows = jobs.recent(session, limit=limit + 1, after=after, status=status, model=model)
    edits = [resources.edit(job) for job in rows[:limit]]
    more = len(rows) > limit
    return Page[Edit](data=edits, has_more=more, next_cursor=edits[-1].id if more else None)


@router.get("/{edit_id}", response_model=Edit, summary="Read an edit")
def read(edit_id: EditId, request: Request, backend: BackendDep) -> Response:
    """The job as it is now; 304 when the client's `If-None-Match` is still true."""
    edit = _load(backend, edit_id)
    body = edit.model_dump_json()
    headers = {"ETag": f'"{hashlib.sha256(body.encode()).hexdigest()}"', "Cache-Control": "no-cache"}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    return _json(body, 200, headers if edit.finished else headers | RETRY_AFTER)


@router.post("/{edit_id}/cancel", response_model=Edit, summary="Stop an edit")
def cancel(edit_id: EditId, backend: BackendDep) -> Response:
    """202: it will stop soon. 200: it has ended, now or before; nothing changes any more."""
    with backend.database.write() as session:
        found(jobs.get(session, edit_id), edit_id)
        jobs.cancel(session, edit_id, now=backend.clock())
    edit = _load(backend, edit_id)
    return _json(edit.model_dump_json(), 200 if edit.finished else 202, {})


def _load(backend: Backend, edit_id: str) -> Edit:
    with backend.database.read() as session:
        return resources.edit(found(jobs.get(session, edit_id), edit_id))


def _json(body: str, status: int, headers: dict[str, str]) -> Response:
    return Response(body, status, headers, "application/json")


def _scope(api_key_id: str, key: str | None) -> Scope | None:
    if key is None:
        return None
    if not 1 <= len(key) <= 255 or not key.isprintable() or not key.isascii():
        raise InvalidIdempotencyKey("1 to 255 printable ASCII characters are allowed.", remedy="Send a UUID.")
    return Scope(api_key_id, "POST /v1/edits", key)
