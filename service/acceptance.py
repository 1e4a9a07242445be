"""Accepting edits: a crowd by a few statements of one transaction."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.orm import Session

from api_schemas.edits import EditRequest
from service import ledgers, resources, submissions
from service.access import Caller
from service.backend import Backend
from service.errors import ServiceError
from service.room import Room
from service.store import audit, idempotency, jobs
from service.store.audit import Deed
from service.store.faults import reach
from service.store.idempotency import Reply, Scope
from service.store.jobs import NewJob
from service.store.schema import Job
from service.submissions import ACCEPTED, Submission

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
    reach("accept.begun")
    with backend.database.write() as session:
        outcomes |= _submit(backend, session, [one for one in asked if one not in outcomes])
    reach("accept.committed")
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
        with session.begin_nested(), submissions.one_at_a_time():
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
            outcomes[one] = _or_error(partial(submissions.replay, given[one.scope], one.request.digest()))
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
        ledgers.refuse_conflicts(session, caller.tenant, request)
    room.take(caller.tenant)


def _accept(backend: Backend, session: Session, asked: Sequence[Asked]) -> dict[Asked, Outcome]:
    """A job for each, and its reply under its key."""
    made = _create(backend, session, [NewJob(one.request, one.caller.key_id, one.caller.tenant) for one in asked])
    replies = {one: _reply(job) for one, job in zip(asked, made, strict=True)}
    kept = {one.scope: reply for one, reply in replies.items() if one.scope}
    idempotency.remember(session, kept, now=backend.clock())
    return {one: Submission(reply, replayed=False) for one, reply in replies.items()}


def _reply(job: Job) -> Reply:
    return Reply(job.request_digest, ACCEPTED, resources.edit(job).model_dump_json())


def accept(backend: Backend, session: Session, request: EditRequest, caller: Caller) -> Job:
    """A new job, if there is room for one and the ledger has nothing against it."""
    _fit(session, Room(backend, session), request, caller)
    return _create(backend, session, [NewJob(request, caller.key_id, caller.tenant)])[0]


def _create(backend: Backend, session: Session, new: Sequence[NewJob]) -> list[Job]:
    now = backend.clock()
    made = jobs.create_all(session, new, now=now)
    audit.record_all(session, [_creation(job, one) for job, one in zip(made, new, strict=True)], now=now)
    return made


def _creation(job: Job, new: NewJob) -> Deed:
    noted = {"model": job.model, "request": job.request_digest, "ledger": new.request.ledger}
    return Deed(job.tenant, job.api_key_id, "edit.create", job.id, noted)
