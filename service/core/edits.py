"""Accepting a request, once: whatever the network does, one Idempotency-Key makes one job."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from pydantic import BaseModel
from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError
from sqlalchemy.orm import Session

from api_schemas.edits import EditRequest
from service.core import ledger_conflicts, serializers
from service.core.app_state import Backend
from service.core.caller import Caller
from service.core.quotas import Room
from service.errors import IdempotencyConflict, IdempotencyKeyReused, NotRevocable, ServiceError
from service.store import audit, idempotency, jobs
from service.store import ledgers as ledger_store
from service.store.audit import AuditEntry
from service.store.failpoints import failpoint
from service.store.idempotency import Reply, Scope
from service.store.jobs import NewJob
from service.store.orm import Job

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
        return Reply(fingerprint, ACCEPTED, serializers.edit(job).model_dump_json())

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
    failpoint("accept.begun")
    with one_at_a_time(), backend.database.write() as session:
        submission = _once(backend, session, work, fingerprint, scope)
    failpoint("accept.committed")
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


T = TypeVar("T")


Outcome = Submission | Exception
"""What came of a POST. An exception is raised for the one who sent it."""


@dataclass(frozen=True, eq=False)
class Asked:
    """A POST of an edit."""

    request: EditRequest
    caller: Caller
    scope: Scope | None


def submit_all(backend: Backend, asked: Sequence[Asked]) -> list[Outcome]:
    """Queue a job for each, or repeat what was answered to the same key and the same body, all in one transaction.

    One that is refused undoes nothing but itself. Nobody is answered before all are on disk.

    Outcomes that are raised: `UnknownModel`, `InvalidRequest`, `LedgerConflict`, `TooManyJobs`, `IdempotencyKeyReused`,
    `IdempotencyConflict`.
    """
    outcomes: dict[Asked, Outcome] = {one: refusal for one in asked if (refusal := _refusal(backend, one))}
    failpoint("accept.begun")
    with backend.database.write() as session:
        outcomes |= _submit(backend, session, [one for one in asked if one not in outcomes])
    failpoint("accept.committed")
    return [outcomes[one] for one in asked]


def _refusal(backend: Backend, asked: Asked) -> Exception | None:
    """What can be found wrong without holding the database up."""
    try:
        backend.phrases.check(asked.request)
    except Exception as error:
        return error
    return None


def _submit(backend: Backend, session: Session, asked: Sequence[Asked]) -> dict[Asked, Outcome]:
    """A crowd by a few statements. Where they fail, each by its own, to learn whose fault it is."""
    try:
        with session.begin_nested(), one_at_a_time():
            return _submit_together(backend, session, asked)
    except (OperationalError, InterfaceError):  # the database itself: nothing of all this holds
        raise
    except Exception as error:
        if len(asked) == 1:
            return {asked[0]: error}
    return {one: outcome for each in asked for one, outcome in _submit(backend, session, [each]).items()}


def _submit_together(backend: Backend, session: Session, asked: Sequence[Asked]) -> dict[Asked, Outcome]:
    given = idempotency.find(session, {one.scope for one in asked if one.scope})
    room, outcomes = Room(backend, session), dict[Asked, Outcome]()
    new, again = dict[Scope | Asked, Asked](), list[Asked]()
    for one in asked:
        if one.scope in given:
            outcomes[one] = _or_error(partial(replay, given[one.scope], one.request.digest()))
        elif one.scope in new:
            again.append(one)
        elif misfit := _or_error(partial(_fit, session, room, one.request, one.caller)):
            outcomes[one] = misfit
        else:
            new[one.scope or one] = one
    outcomes |= _accept(backend, session, list(new.values()))
    return outcomes | (_submit_together(backend, session, again) if again else {})


def _or_error(work: Callable[[], T]) -> T | ServiceError:
    try:
        return work()
    except ServiceError as error:
        return error


def _fit(session: Session, room: Room, request: EditRequest, caller: Caller) -> None:
    """Raise what is wrong with it beside what is there."""
    if request.ledger:
        ledger_conflicts.refuse_conflicts(session, caller.tenant, request)
    room.take(caller.tenant)


def _accept(backend: Backend, session: Session, asked: Sequence[Asked]) -> dict[Asked, Outcome]:
    """A job for each, and its reply under its key."""
    made = _create(backend, session, [NewJob(one.request, one.caller.key_id, one.caller.tenant) for one in asked])
    replies = {one: _reply(job) for one, job in zip(asked, made, strict=True)}
    kept = {one.scope: reply for one, reply in replies.items() if one.scope}
    idempotency.remember(session, kept, now=backend.clock())
    return {one: Submission(reply, replayed=False) for one, reply in replies.items()}


def _reply(job: Job) -> Reply:
    return Reply(job.request_digest, ACCEPTED, serializers.edit(job).model_dump_json())


def accept(backend: Backend, session: Session, request: EditRequest, caller: Caller) -> Job:
    """A new job, if there is room for one and the ledger has nothing against it."""
    _fit(session, Room(backend, session), request, caller)
    return _create(backend, session, [NewJob(request, caller.key_id, caller.tenant)])[0]


def _create(backend: Backend, session: Session, new: Sequence[NewJob]) -> list[Job]:
    now = backend.clock()
    made = jobs.create_all(session, new, now=now)
    audit.record_all(session, [_creation(job, one) for job, one in zip(made, new, strict=True)], now=now)
    return made


def _creation(job: Job, new: NewJob) -> AuditEntry:
    noted = {"model": job.model, "request": job.request_digest, "ledger": new.request.ledger}
    return AuditEntry(job.tenant, job.api_key_id, "edit.create", job.id, noted)
