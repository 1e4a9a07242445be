"""Accepting a request, once: whatever the network does, one Idempotency-Key makes one job."""

from dataclasses import dataclass

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from api_schemas.edits import EditRequest
from service import resources
from service.backend import Backend
from service.errors import IdempotencyConflict, IdempotencyKeyReused
from service.store import idempotency, jobs
from service.store.faults import reach
from service.store.idempotency import Reply, Scope

ACCEPTED = 202


@dataclass(frozen=True)
class Submission:
    """The reply to a POST, and whether it was given before."""

    reply: Reply
    replayed: bool


def submit(backend: Backend, request: EditRequest, api_key_id: str, scope: Scope | None) -> Submission:
    """Queue the job, or repeat what was answered to the same key and the same body.

    Only acceptances are remembered: a request that was refused queued nothing, and may be corrected and
    sent again under its key.

    Raises `UnknownModel`, `InvalidRequest`, `IdempotencyKeyReused`, `IdempotencyConflict`.
    """
    backend.phrases.check(request)
    reach("accept.begun")
    try:
        with backend.database.write() as session:
            submission = _once(backend, session, request, api_key_id, scope)
        reach("accept.committed")
        return submission
    except IntegrityError as error:
        raise IdempotencyConflict(
            "another request with this key is in flight.",
            remedy="Send it again in a second.",
            headers={"Retry-After": "1"},
        ) from error


def _once(backend: Backend, session: Session, request: EditRequest, api_key_id: str, scope: Scope | None) -> Submission:
    if scope and (earlier := idempotency.find(session, scope)):
        return _replay(earlier, request)
    now = backend.clock()
    job = jobs.create(session, request, api_key_id, now=now)
    reply = Reply(job.request_digest, ACCEPTED, resources.edit(job).model_dump_json())
    if scope:
        idempotency.remember(session, scope, reply, now=now)
    return Submission(reply, replayed=False)


def _replay(earlier: Reply, request: EditRequest) -> Submission:
    if earlier.fingerprint != request.digest():
        raise IdempotencyKeyReused(
            "the key came first with another body.", remedy="Use a fresh key for each new request."
        )
    return Submission(earlier, replayed=True)
