"""Requests that create or cancel a job: their Idempotency-Key, and how they are answered."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Protocol

from fastapi import Header, Response

from service.core.app_state import AppState
from service.core.caller import Caller
from service.core.edits import Submission
from service.errors import IdempotencyKeyRequired, InvalidIdempotencyKey
from service.store import audit, jobs
from service.store.idempotency import Scope
from service.store.orm import Job

RETRY_AFTER = {"Retry-After": "2"}
IdempotencyKey = Annotated[
    str | None,
    Header(
        description="Makes the request idempotent. Required if the server sets `EXPUNGE_REQUIRE_IDEMPOTENCY_KEY`.",
        json_schema_extra={"minLength": 1, "maxLength": 255, "pattern": "^[!-~]([ -~]*[!-~])?$"},
    ),
]


class JobResource(Protocol):
    """A job as its owner sees it."""

    @property
    def finished_at(self) -> datetime | None:
        """When the job ended."""

    def model_dump_json(self) -> str:
        """Return it as JSON."""


def idempotency_scope(app_state: AppState, caller: Caller, route: str, key: str | None) -> Scope | None:
    """Return the scope of an Idempotency-Key. Raises `InvalidIdempotencyKey`, `IdempotencyKeyRequired`."""
    if key is None and app_state.settings.require_idempotency_key:
        raise IdempotencyKeyRequired(
            "The request has no Idempotency-Key.", remedy="Send a new UUID in the Idempotency-Key header."
        )
    if key is None:
        return None
    if not 1 <= len(key) <= 255 or not key.isprintable() or not key.isascii():
        raise InvalidIdempotencyKey(
            "The Idempotency-Key must have 1 to 255 printable ASCII characters.", remedy="Send a new UUID."
        )
    return Scope(caller.key_id, route, key)


def json_response(body: str, status: int, headers: dict[str, str] | None = None) -> Response:
    """Return a response whose body is serialized JSON."""
    return Response(body, status, headers, "application/json")


def accepted_response(submission: Submission, location: str | None = None, body: str | None = None) -> Response:
    """Return the response to an accepted request: where its resource is, and when to ask for it.

    Args:
        body: the JSON of the resource, if it is another than that of the stored reply.
    """
    reply = submission.reply
    headers = replay_headers(submission) | RETRY_AFTER | ({"Location": location} if location else {})
    return json_response(reply.body if body is None else body, reply.status_code, headers)


def replay_headers(submission: Submission) -> dict[str, str]:
    """Return the header that says whether the reply repeats an earlier one."""
    return {"Idempotent-Replayed": str(submission.replayed).lower()}


def cancel_job(
    app_state: AppState, caller: Caller, action: str, load: Callable[[], Job], serialize: Callable[[Job], JobResource]
) -> Response:
    """Cancel the job that `load` returns, and return its new state: 202 if it is about to stop, 200 if it has ended."""
    job_id, now = load().id, app_state.clock()
    with app_state.database.write() as session:
        if jobs.cancel(session, job_id, now=now):
            audit.record(session, caller.tenant, caller.key_id, action, job_id, now=now)
    found = serialize(load())
    return json_response(found.model_dump_json(), 200 if found.finished_at else 202)
