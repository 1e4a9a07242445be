"""Accepting a request, once: whatever the network does, one Idempotency-Key makes one job."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pydantic import BaseModel
from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError
from sqlalchemy.orm import Session

from api_schemas.edits import EditRequest
from service import ledgers, resources
from service.access import Caller
from service.backend import Backend
from service.errors import IdempotencyConflict, IdempotencyKeyReused, NotRevocable, TooManyJobs
from service.store import audit, idempotency, jobs
from service.store import ledgers as ledger_store
from service.store.faults import reach
from service.store.idempotency import Reply, Scope
from service.store.schema import Job

ACCEPTED = 202

Work = Callable[[Session], Reply]
"""What is done once, in one transaction, and what is answered to it."""


@dataclass(frozen=True)
class Submission:
    """The reply to a POST, and whether it was given before."""

    reply: Reply
    replayed: bool


@dataclass(frozen=True)
class Asked:
    """A POST of an edit."""

    request: EditRequest
    caller: Caller
    scope: Scope | None


def submit_all(backend: Backend, asked: Sequence[Asked]) -> list[Submission | Exception]:
    """Queue a job for each, or repeat what was answered to the same key and the same body, all in one transaction.

    One that is refused undoes nothing but itself. Nobody is answered before all are on disk.

    Outcomes that are raised: `UnknownModel`, `InvalidRequest`, `LedgerConflict`, `TooManyJobs`, `IdempotencyKeyReused`,
    `IdempotencyConflict`.
    """
    refused = [_refusal(backend, one) for one in asked]
    reach("accept.begun")
    with backend.database.write() as session:
        pairs = zip(asked, refused, strict=True)
        outcomes = [refusal or _submit(backend, session, one) for one, refusal in pairs]
    reach("accept.committed")
    return outcomes


def _refusal(backend: Backend, asked: Asked) -> Exception | None:
    """What can be found wrong without holding the database up."""
    try:
        backend.phrases.check(asked.request)
    except Exception as error:
        return error
    return None


def _submit(backend: Backend, session: Session, asked: Asked) -> Submission | Exception:
    def work(session: Session) -> Reply:
        job = accept(backend, session, asked.request, asked.caller)
        return Reply(job.request_digest, ACCEPTED, resources.edit(job).model_dump_json())

    try:
        with session.begin_nested(), _one_at_a_time():
            return _once(backend, session, work, asked.request.digest(), asked.scope)
    except (OperationalError, InterfaceError):  # the database itself: nothing of all this holds
        raise
    except Exception as error:
        return error


def accept(backend: Backend, session: Session, request: EditRequest, caller: Caller) -> Job:
    """A new job, if there is room for one and the ledger has nothing against it. Its line in the audit log comes last."""
    refuse_too_many(backend, session, caller)
    if request.ledger:
        ledgers.refuse_conflicts(session, caller.tenant, request)
    now = backend.clock()
    job = jobs.create(session, request, caller.key_id, now=now, tenant=caller.tenant)
    noted = {"model": request.model, "request": job.request_digest, "ledger": request.ledger}
    audit.record(session, caller.tenant, caller.key_id, "edit.create", job.id, now=now, **noted)
    return job


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
    refuse_too_many(backend, session, caller)
    now, request = backend.clock(), EditRequest.model_validate(found.request)
    job = jobs.create(
        session, request, caller.key_id, now=now, tenant=caller.tenant, kind="revocation", revokes=found.id
    )
    audit.record(session, caller.tenant, caller.key_id, "edit.revoke", found.id, now=now, revocation=job.id)
    return job


def once(backend: Backend, work: Work, fingerprint: str, scope: Scope | None) -> Submission:
    """Do it, or repeat what was answered when the same was asked under the same key.

    Only acceptances are remembered: a request that was refused queued nothing, and may be corrected and
    sent again under its key.

    Raises `IdempotencyKeyReused`, `IdempotencyConflict`.
    """
    reach("accept.begun")
    with _one_at_a_time(), backend.database.write() as session:
        submission = _once(backend, session, work, fingerprint, scope)
    reach("accept.committed")
    return submission


@contextmanager
def _one_at_a_time() -> Iterator[None]:
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
    if scope and (earlier := idempotency.find(session, scope)):
        return _replay(earlier, fingerprint)
    reply = work(session)
    if scope:
        idempotency.remember(session, scope, reply, now=backend.clock())
    return Submission(reply, replayed=False)


def _replay(earlier: Reply, fingerprint: str) -> Submission:
    if earlier.fingerprint != fingerprint:
        raise IdempotencyKeyReused(
            "the key came first with another body.", remedy="Use a fresh key for each new request."
        )
    return Submission(earlier, replayed=True)


def digest_of(request: BaseModel) -> str:
    """What makes two bodies the same one: their canonical JSON."""
    canonical = json.dumps(request.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(canonical.encode(errors='surrogatepass')).hexdigest()}"


def refuse_too_many(backend: Backend, session: Session, caller: Caller) -> None:
    """Raise `TooManyJobs` when the tenant has as many unfinished jobs as it may have."""
    limit = backend.settings.max_unfinished_jobs
    if limit and jobs.unfinished(session, caller.tenant) >= limit:
        raise TooManyJobs(
            f"{limit} jobs of yours are not finished yet.",
            remedy="Wait for some, cancel some, or put many removals into one batch.",
            headers={"Retry-After": "60"},
        )
