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
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from api_schemas.edits import EditRequest
from api_schemas.jobs import Edit, JobKind, Page, Status
from api_schemas.report import Verdict
from service.api.auth import ReadsEdits, WritesEdits
from service.api.dependencies import AppStateDep, BatchedCallsDep
from service.api.file_response import NOT_MODIFIED, etag_matches
from service.api.job_replies import (
    RETRY_AFTER,
    IdempotencyKey,
    accepted_response,
    cancel_job,
    idempotency_scope,
    json_response,
    replay_headers,
)
from service.api.paging import PageLimit
from service.api.request_batching import BatchedCalls, EditKey
from service.api.strict_json import StrictJsonRoute
from service.core import edits, serializers
from service.core.app_state import AppState
from service.core.caller import Caller
from service.core.edits import PendingEdit, PendingRevocation, Submission
from service.errors import edit_not_found
from service.store import jobs
from service.store.idempotency import Scope
from service.store.ids import EDIT_ID
from service.store.orm import Job

router = APIRouter(prefix="/v1/edits", tags=["edits"], route_class=StrictJsonRoute)

FINISHED_RESPONSE: dict[str, Any] = {
    "model": Edit,
    "description": "The job ended within the time that `Prefer: wait` gave it.",
}
WAIT_PREFERENCE = re.compile(r"\bwait=(\d{1,3})\b")
MAX_WAIT_SECONDS = 60


def _require_iso_8601(text: str) -> str:
    """Reject numbers, which pydantic would accept as timestamps."""
    if not re.match(r"\d{4}-\d\d-\d\d[Tt ]", text):
        raise ValueError("must be an ISO 8601 time such as 2026-05-01T12:00:00Z")
    return text


Timestamp = Annotated[datetime, BeforeValidator(_require_iso_8601)]
EditId = Annotated[str, Path(description="The id that `POST /v1/edits` returned.")]
Prefer = Annotated[
    str | None, Header(description="`wait=N`: respond when the job has ended, or after N seconds (60 at most).")
]


def find_edit(session: Session, caller: Caller, edit_id: str) -> Job:
    """Return an edit of the caller. Raises `NotFound`."""
    job = jobs.get_edit(session, caller.tenant, edit_id)
    if job is None:
        raise edit_not_found(edit_id)
    return job


def load_edit(app_state: AppState, caller: Caller, edit_id: str) -> Job:
    """Return an edit of the caller with its files. Raises `NotFound`."""
    with app_state.database.read() as session:
        return find_edit(session, caller, edit_id)


@router.post(
    "",
    status_code=edits.ACCEPTED,
    response_model=Edit,
    summary="Remove concepts from a model",
    responses={200: FINISHED_RESPONSE},
)
async def create(
    body: EditRequest,
    app_state: AppStateDep,
    batched_calls: BatchedCallsDep,
    caller: WritesEdits,
    idempotency_key: IdempotencyKey = None,
    prefer: Prefer = None,
) -> Response:
    """Validate the request and queue a job. A repeated request with the same Idempotency-Key returns the same job.

    With `Prefer: wait=N` the response is 200 and the finished job, if it ends in time.
    """
    scope = idempotency_scope(app_state, caller, "POST /v1/edits", idempotency_key)
    submission = await batched_calls.submit_edit(PendingEdit(caller, scope, body))
    return await submission_response(app_state, batched_calls, caller, submission, prefer)


@router.get("", summary="List edits, newest first")
def list_edits(
    app_state: AppStateDep,
    caller: ReadsEdits,
    limit: PageLimit = 20,
    after: Annotated[str | None, Query(pattern=EDIT_ID, description="`next_cursor` of the previous page.")] = None,
    status: Annotated[Status | None, Query(description="Only edits with this status.")] = None,
    model: Annotated[str | None, Query(max_length=100, description="Only edits of this base model.")] = None,
    verdict: Annotated[Verdict | None, Query(description="Only edits with this verdict.")] = None,
    kind: Annotated[JobKind | None, Query(description="Only jobs of this kind.")] = None,
    request_digest: Annotated[str | None, Query(max_length=71, description="Only edits with the same request.")] = None,
    created_since: Annotated[Timestamp | None, Query(description="Only edits created at this time or later.")] = None,
    created_before: Annotated[Timestamp | None, Query(description="Only edits created before this time.")] = None,
) -> Page[Edit]:
    """Return a page of edits. There is no filter by concept, because URLs are logged and concept names must not be."""
    filters = {"status": status, "model": model, "verdict": verdict, "kind": kind, "request_digest": request_digest}
    since, until = serializers.assume_utc(created_since), serializers.assume_utc(created_before)
    with app_state.database.read() as session:
        rows = jobs.list_edits(session, caller.tenant, filters, limit=limit + 1, after=after, since=since, until=until)
    return serializers.page([serializers.edit(job) for job in rows], limit, lambda edit: edit.id)


@router.get("/{edit_id}", response_model=Edit, summary="Read an edit", responses={304: NOT_MODIFIED})
async def read(edit_id: EditId, request: Request, batched_calls: BatchedCallsDep, caller: ReadsEdits) -> Response:
    """Return the current state of the edit, or 304 if `If-None-Match` still matches."""
    edit = serializers.edit(await batched_calls.get_job(EditKey(caller.tenant, edit_id)))
    body = edit.model_dump_json()
    headers = {"ETag": f'"{hashlib.sha256(body.encode()).hexdigest()}"', "Cache-Control": "private, no-cache"}
    if etag_matches(request.headers.get("if-none-match", ""), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return json_response(body, 200, headers if edit.finished else headers | RETRY_AFTER)


@router.post("/{edit_id}/cancel", response_model=Edit, summary="Cancel an edit", responses={202: {"model": Edit}})
def cancel(edit_id: EditId, app_state: AppStateDep, caller: WritesEdits) -> Response:
    """Return 202 if the job is about to stop, or 200 if it has ended, now or earlier."""
    return cancel_job(app_state, caller, "edit.cancel", lambda: load_edit(app_state, caller, edit_id), serializers.edit)


@router.post(
    "/{edit_id}/revoke",
    status_code=edits.ACCEPTED,
    response_model=Edit,
    summary="Revoke an edit",
    responses={200: FINISHED_RESPONSE},
)
async def revoke(
    edit_id: EditId,
    app_state: AppStateDep,
    batched_calls: BatchedCallsDep,
    caller: WritesEdits,
    idempotency_key: IdempotencyKey = None,
    prefer: Prefer = None,
) -> Response:
    """Create a job that undoes the edit. It solves the ledger's next revision from the original model and the other removals.

    The resulting weights are the same as if the edit had never been made. A repeated request returns the same job.
    """
    scope = idempotency_scope(app_state, caller, f"POST /v1/edits/{edit_id}/revoke", idempotency_key)
    submission = await run_in_threadpool(_revoke, app_state, caller, edit_id, scope)
    return await submission_response(app_state, batched_calls, caller, submission, prefer)


def _revoke(app_state: AppState, caller: Caller, edit_id: str, scope: Scope | None) -> Submission:
    return edits.submit(app_state, PendingRevocation(caller, scope, load_edit(app_state, caller, edit_id)))


async def submission_response(
    app_state: AppState, batched_calls: BatchedCalls, caller: Caller, submission: Submission, prefer: str | None
) -> Response:
    """Return the response to a submission, after the wait that the client prefers."""
    edit_id = json.loads(submission.reply.body)["id"]
    location = f"/v1/edits/{edit_id}"
    preference = WAIT_PREFERENCE.search(prefer or "")
    if preference is None:
        return accepted_response(submission, location)
    seconds = min(int(preference[1]), MAX_WAIT_SECONDS)
    edit = await _wait_until_finished(app_state, batched_calls, EditKey(caller.tenant, edit_id), seconds)
    headers = replay_headers(submission) | {"Location": location, "Preference-Applied": f"wait={seconds}"}
    body = edit.model_dump_json()
    return json_response(body, 200, headers) if edit.finished else json_response(body, 202, headers | RETRY_AFTER)


async def _wait_until_finished(app_state: AppState, batched_calls: BatchedCalls, key: EditKey, seconds: int) -> Edit:
    """Return the edit when it has ended, or its state after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        edit = serializers.edit(await batched_calls.get_job(key))
        left = end - time.monotonic()
        if edit.finished or left <= 0 or app_state.shutting_down.is_set():
            return edit
        await asyncio.sleep(min(app_state.settings.stream_poll_seconds, left))
