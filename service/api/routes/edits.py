"""Create, list, read, cancel and revoke edits."""

import asyncio
import hashlib
import json
import re
import time
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request, Response
from pydantic import BeforeValidator
from starlette.concurrency import run_in_threadpool

from api_schemas.edits import EditRequest
from api_schemas.jobs import Edit, JobKind, Page, Status
from api_schemas.report import Verdict
from service.api.auth import ReadsEdits, WritesEdits
from service.api.file_response import NOTHING_NEW, matches
from service.api.request_batching import Together, TogetherDep, Wanted
from service.core import edits, serializers
from service.core.app_state import Backend, BackendDep
from service.core.caller import Caller
from service.core.edits import Asked, Submission
from service.errors import IdempotencyKeyRequired, InvalidIdempotencyKey, no_edit
from service.store import audit, jobs
from service.store.idempotency import Scope
from service.store.ids import EDIT_ID
from service.store.orm import Job

router = APIRouter(prefix="/v1/edits", tags=["edits"])

RETRY_AFTER = {"Retry-After": "2"}
ENDED: dict[str, Any] = {"model": Edit, "description": "It ended while you waited, as `Prefer` wished."}
WAIT = re.compile(r"\bwait=(\d{1,3})\b")
LONGEST_WAIT = 60


def _written_out(text: str) -> str:
    """Numbers are no times here, though they are to pydantic."""
    if not re.match(r"\d{4}-\d\d-\d\d[Tt ]", text):
        raise ValueError("write it as in 2026-05-01T12:00:00Z")
    return text


Time = Annotated[datetime, BeforeValidator(_written_out)]
EditId = Annotated[str, Path(description="As `POST /v1/edits` returned it.")]
IdempotencyKey = Annotated[
    str | None,
    Header(
        description="Repeat safely: one key, one job. The operator may have made it a must.",
        json_schema_extra={"minLength": 1, "maxLength": 255, "pattern": "^[!-~]([ -~]*[!-~])?$"},
    ),
]
Prefer = Annotated[
    str | None, Header(description="`wait=N`: answer when the job has ended, or after N seconds (60 at most).")
]


def found(job: Job | None, edit_id: str) -> Job:
    """The job, or `NotFound`."""
    if job is None:
        raise no_edit(edit_id)
    return job


@router.post(
    "",
    status_code=edits.ACCEPTED,
    response_model=Edit,
    summary="Remove concepts from a model",
    responses={200: ENDED},
)
async def create(
    body: EditRequest,
    backend: BackendDep,
    together: TogetherDep,
    caller: WritesEdits,
    idempotency_key: IdempotencyKey = None,
    prefer: Prefer = None,
) -> Response:
    """Check the request and queue the job. Sent again with the same key, it returns the same job.

    With `Prefer: wait=N`, 200 and the job as it ended, if it ended in time.
    """
    scope = scope_of(backend, caller, "POST /v1/edits", idempotency_key)
    submission = await together.submit(Asked(body, caller, scope))
    return await answered(backend, together, caller, submission, prefer)


@router.get("", summary="List edits, newest first")
def list_edits(
    backend: BackendDep,
    caller: ReadsEdits,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: Annotated[str | None, Query(pattern=EDIT_ID, description="`next_cursor` of the last page.")] = None,
    status: Annotated[Status | None, Query()] = None,
    model: Annotated[str | None, Query(max_length=100)] = None,
    verdict: Annotated[Verdict | None, Query()] = None,
    kind: Annotated[JobKind | None, Query()] = None,
    request_digest: Annotated[
        str | None, Query(max_length=71, description="Edits that asked for the very same.")
    ] = None,
    created_since: Annotated[Time | None, Query(description="Made then or later.")] = None,
    created_before: Annotated[Time | None, Query(description="Made earlier.")] = None,
) -> Page[Edit]:
    """One page. There is no filter by concept: what is in a URL ends up in logs, and names of concepts must not."""
    wanted = {"status": status, "model": model, "verdict": verdict, "kind": kind, "request_digest": request_digest}
    since, until = serializers.aware(created_since), serializers.aware(created_before)
    with backend.database.read() as session:
        rows = jobs.recent(session, caller.tenant, wanted, limit=limit + 1, after=after, since=since, until=until)
    return serializers.page([serializers.edit(job) for job in rows], limit, lambda edit: edit.id)


@router.get("/{edit_id}", response_model=Edit, summary="Read an edit", responses={304: NOTHING_NEW})
async def read(edit_id: EditId, request: Request, together: TogetherDep, caller: ReadsEdits) -> Response:
    """The job as it is now; 304 when the client's `If-None-Match` is still true."""
    edit = serializers.edit(await together.look(Wanted(caller.tenant, edit_id)))
    body = edit.model_dump_json()
    headers = {"ETag": f'"{hashlib.sha256(body.encode()).hexdigest()}"', "Cache-Control": "private, no-cache"}
    if matches(request.headers.get("if-none-match", ""), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return json_response(body, 200, headers if edit.finished else headers | RETRY_AFTER)


@router.post("/{edit_id}/cancel", response_model=Edit, summary="Stop an edit", responses={202: {"model": Edit}})
def cancel(edit_id: EditId, backend: BackendDep, caller: WritesEdits) -> Response:
    """202: it will stop soon. 200: it has ended, now or before; nothing changes any more."""
    now = backend.clock()
    with backend.database.write() as session:
        found(jobs.edit_of(session, caller.tenant, edit_id), edit_id)
        if jobs.cancel(session, edit_id, now=now):
            audit.record(session, caller.tenant, caller.key_id, "edit.cancel", edit_id, now=now)
    edit = _load(backend, caller, edit_id)
    return json_response(edit.model_dump_json(), 200 if edit.finished else 202)


@router.post(
    "/{edit_id}/revoke",
    status_code=edits.ACCEPTED,
    response_model=Edit,
    summary="Take an edit out of the ledger",
    responses={200: ENDED},
)
async def revoke(
    edit_id: EditId,
    backend: BackendDep,
    together: TogetherDep,
    caller: WritesEdits,
    idempotency_key: IdempotencyKey = None,
    prefer: Prefer = None,
) -> Response:
    """A job of its own: the ledger's next revision, solved from the original model over what still holds.

    The weights then are those of a ledger that never had it. Asked again, it answers the same job.
    """
    scope = scope_of(backend, caller, f"POST /v1/edits/{edit_id}/revoke", idempotency_key)
    submission = await run_in_threadpool(_revoke, backend, caller, edit_id, scope)
    return await answered(backend, together, caller, submission, prefer)


def _revoke(backend: Backend, caller: Caller, edit_id: str, scope: Scope | None) -> Submission:
    with backend.database.read() as session:
        job = found(jobs.edit_of(session, caller.tenant, edit_id), edit_id)
    return edits.revoke(backend, job, caller, scope)


async def answered(
    backend: Backend, together: Together, caller: Caller, submission: Submission, prefer: str | None
) -> Response:
    """The reply to a submission, when the client wants it."""
    reply = submission.reply
    edit_id = json.loads(reply.body)["id"]
    headers = {"Location": f"/v1/edits/{edit_id}", "Idempotent-Replayed": str(submission.replayed).lower()}
    wish = WAIT.search(prefer or "")
    if wish is None:
        return json_response(reply.body, reply.status_code, headers | RETRY_AFTER)
    seconds = min(int(wish[1]), LONGEST_WAIT)
    edit = await _ended(backend, together, Wanted(caller.tenant, edit_id), seconds)
    headers |= {"Preference-Applied": f"wait={seconds}"}
    body = edit.model_dump_json()
    return json_response(body, 200, headers) if edit.finished else json_response(body, 202, headers | RETRY_AFTER)


async def _ended(backend: Backend, together: Together, wanted: Wanted, seconds: int) -> Edit:
    """The edit when it has ended, or as it is after so many seconds."""
    end = time.monotonic() + seconds
    while True:
        edit = serializers.edit(await together.look(wanted))
        left = end - time.monotonic()
        if edit.finished or left <= 0 or backend.closing.is_set():
            return edit
        await asyncio.sleep(min(backend.settings.stream_poll_seconds, left))


def _load(backend: Backend, caller: Caller, edit_id: str) -> Edit:
    with backend.database.read() as session:
        return serializers.edit(found(jobs.edit_of(session, caller.tenant, edit_id), edit_id))


def json_response(body: str, status: int, headers: dict[str, str] | None = None) -> Response:
    """A body that is JSON already."""
    return Response(body, status, headers, "application/json")


def scope_of(backend: Backend, caller: Caller, route: str, key: str | None) -> Scope | None:
    """What makes two uses of an Idempotency-Key the same. Raises `InvalidIdempotencyKey`, `IdempotencyKeyRequired`."""
    if key is None and backend.settings.require_idempotency_key:
        raise IdempotencyKeyRequired("the request has no Idempotency-Key.", remedy="Send a UUID of your own with it.")
    if key is None:
        return None
    if not 1 <= len(key) <= 255 or not key.isprintable() or not key.isascii():
        raise InvalidIdempotencyKey("1 to 255 printable ASCII characters are allowed.", remedy="Send a UUID.")
    return Scope(caller.key_id, route, key)
