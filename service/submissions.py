"""Accepting a request, once: whatever the network does, one Idempotency-Key makes one job."""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pydantic import BaseModel
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from api_schemas.edits import EditRequest
from service import resources
from service.access import Caller
from service.backend import Backend
from service.errors import IdempotencyConflict, IdempotencyKeyReused, NotRevocable
from service.room import Room
from service.store import audit, idempotency, jobs
from service.store import ledgers as ledger_store
from service.store.faults import reach
from service.store.idempotency import Reply, Scope
from service.store.jobs import NewJob
from service.store.schema import Job

ACCEPTED = 202

Work = Callable[[Session], Reply]
"""What is done once, in one transaction, and what is answered to it."""


@dataclass(frozen=True)
class Submission:
    """The reply to a POST, and whether it was given before."""

    reply: Reply
    replayed: bool


def revoke(backend: Backend, found: Job, caller: Caller, scope: Scope | None) -> Submission:
    """Queue the job that takes an edit out of its ledger, or return the one that does so already.

    Raises `NotRevocable`, `TooManyJobs`, `IdempotencyKeyReused`, `IdempotencyConflict`.
    """
    fingerprint = f"revoke:{found.id}"

    def work(session: Session) -> Reply:
        job = jobs.revocation_of(session, found.id) or _revocation(backend, session, found, caller)
        return Reply(fingerprint, ACCEPTED, resources.edit(job).model_dump_json())

    return once(backend, work, fingerprint, scope)


def _revocation(backend: Backend, session: Session, found: Job, caller: Caller) -> Job:
    if not any(entry.until is None for entry in ledger_store.of_job(session, found.id)):
        raise NotRevocable(
            f'nothing of edit "{found.id}" holds in a ledger.',
            remedy="Only an edit that succeeded with `ledger` set can be revoked, and only once.",
        )
    Room(backend, session).take(caller.tenant)
    now, request = backend.clock(), EditRequest.model_validate(found.request)
    job = jobs.create(session, NewJob(request, caller.key_id, caller.tenant, "revocation", found.id), now=now)
    audit.record(session, caller.tenant, caller.key_id, "edit.revoke", found.id, now=now, revocation=job.id)
    return job


def once(backend: Backend, work: Work, fingerprint: str, scope: Scope | None) -> Submission:
    """Do it, or repeat what was answered when the same was asked under the same key.

    Only acceptances are remembered: a request that was refused queued nothing, and may be corrected and
    sent again under its key.

    Raises `IdempotencyKeyReused`, `IdempotencyConflict`.
    """
    reach("accept.begun")
    with one_at_a_time(), backend.database.write() as session:
        submission = _once(backend, session, work, fingerprint, scope)
    reach("accept.committed")
    return submission


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Two that came at once under the same key: the other one is through. Raises `IdempotencyConflict`."""
    try:
        yield
    except IntegrityError as error:
        raise IdempotencyConflict(
            "another request with this key is in flight.",
            remedy="Send it again in a second.",
            headers={"Retry-After": "1"},
        ) from error


def _once(backend: Backend, session: Session, work: Work, fingerprint: str, scope: Scope | None) -> Submission:
    if scope and (earlier := idempotency.find(session, [scope])):
        return replay(earlier[scope], fingerprint)
    reply = work(session)
    if scope:
        idempotency.remember(session, {scope: reply}, now=backend.clock())
    return Submission(reply, replayed=False)


def replay(earlier: Reply, fingerprint: str) -> Submission:
    """What was answered before. Raises `IdempotencyKeyReused`."""
    if earlier.fingerprint != fingerprint:
        raise IdempotencyKeyReused(
            "the key came first with another body.", remedy="Use a fresh key for each new request."
        )
    return Submission(earlier, replayed=True)


def digest_of(request: BaseModel) -> str:
    """What makes two bodies the same one: their canonical JSON."""
    canonical = json.dumps(request.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(canonical.encode(errors='surrogatepass')).hexdigest()}"
