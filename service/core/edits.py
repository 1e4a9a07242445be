"""Accept POST requests that create a job: edits, batches, revocations and dry runs.

All of them take the same path, in one transaction: look up the Idempotency-Key, check admission (ledger conflicts and job
quota), create the job with its outbox message and audit entries, and remember the reply under the key. Only accepted requests
are remembered: a request that was refused can be corrected and sent again under its key.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError
from sqlalchemy.orm import Session

from api_schemas.edits import EditRequest
from service.core import ledger_conflicts, serializers
from service.core.app_state import AppState
from service.core.caller import Caller
from service.core.quotas import JobQuota
from service.core.site_limits import check_sites
from service.errors import IdempotencyConflict, IdempotencyKeyReused, NotRevocable, ServiceError, WrongCaseState
from service.store import audit, cases, idempotency, jobs, ledgers
from service.store.audit import AuditEntry
from service.store.failpoints import failpoint
from service.store.idempotency import Reply, Scope
from service.store.jobs import NewJob
from service.store.orm import Job

ACCEPTED = 202


@dataclass(frozen=True)
class Submission:
    """The reply to an accepted POST, and whether it repeats an earlier reply."""

    reply: Reply
    replayed: bool


@dataclass(frozen=True)
class Acceptance:
    """The JSON body of the reply to an accepted request, and the audit entries of its new job."""

    body: str
    audit_entries: Sequence[AuditEntry] = ()


@dataclass(frozen=True, eq=False)
class PendingJob(ABC):
    """A POST that waits to be accepted. `scope` identifies its Idempotency-Key, if it has one."""

    caller: Caller
    scope: Scope | None

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """A digest of the request: two requests under the same key must have the same one."""

    def validate(self, app_state: AppState) -> None:  # noqa: B027
        """Raise errors that can be found without the database, before the transaction begins."""

    @abstractmethod
    def admit(self, session: Session, quota: JobQuota) -> NewJob | Job:
        """Return the job to create, or the existing job that already does what is requested. Raises `ServiceError`."""

    @abstractmethod
    def complete(self, session: Session, job: Job, now: datetime) -> Acceptance:
        """Store what belongs to the job besides the job itself, and return the reply's body and the audit entries."""

    def new_job(self, request: EditRequest) -> NewJob:
        """Return a removal job for the caller."""
        return NewJob(request, self.caller.key_id, self.caller.tenant)


@dataclass(frozen=True, eq=False)
class PendingEdit(PendingJob):
    """A POST of one edit."""

    request: EditRequest

    @property
    def fingerprint(self) -> str:
        """The digest of the request."""
        return self.request.digest()

    def validate(self, app_state: AppState) -> None:
        """Raise `UnknownModel`, `ModelNotAdmitted`, or `InvalidRequest`: a phrase is too long, or a layer does not exist."""
        check_request(app_state, self.request)

    def admit(self, session: Session, quota: JobQuota) -> NewJob:
        """Raise `LedgerConflict`, `InvalidRequest`, `TooManyJobs`."""
        check_admission(session, quota, self.request, self.caller)
        return self.new_job(self.request)

    def complete(self, session: Session, job: Job, now: datetime) -> Acceptance:
        """Reply with the edit."""
        return Acceptance(serializers.edit(job).model_dump_json(), [creation_entry(job)])


@dataclass(frozen=True, eq=False)
class PendingRevocation(PendingJob):
    """A POST that revokes an edit."""

    edit: Job
    of_case: bool = False
    """Whether the case that requires the edit asks for the revocation."""

    @property
    def fingerprint(self) -> str:
        """The id of the edit: the request has no body."""
        return f"revoke:{self.edit.id}"

    def admit(self, session: Session, quota: JobQuota) -> NewJob | Job:
        """Return a job that takes the edit out of its ledger, or the one that already does. Raises `NotRevocable`,
        `WrongCaseState`, `TooManyJobs`."""
        if existing := jobs.revocation_of(session, self.edit.id):
            return existing
        if not self.of_case and (case := cases.case_requiring(session, self.edit.id)):
            raise WrongCaseState(
                f'{case.reference} requires edit "{self.edit.id}".', remedy="Restore the case, which revokes the edit."
            )
        if not any(entry.until is None for entry in ledgers.entries_of_job(session, self.edit.id)):
            raise NotRevocable(
                f'Edit "{self.edit.id}" has no active removals in a ledger.',
                remedy="Only an edit that succeeded with `ledger` set can be revoked, and only once.",
            )
        quota.reserve(self.caller.tenant)
        return new_revocation(self.edit, self.caller.key_id)

    def complete(self, session: Session, job: Job, now: datetime) -> Acceptance:
        """Reply with the revocation's job."""
        return Acceptance(serializers.edit(job).model_dump_json(), [revocation_entry(job, self.caller.key_id)])


@dataclass(frozen=True, eq=False)
class PendingDryRun(PendingJob):
    """A POST that requests a dry run. It has no Idempotency-Key, because it changes nothing."""

    request: EditRequest
    max_queue_time: timedelta
    scope: Scope | None = field(default=None, init=False)

    @property
    def fingerprint(self) -> str:
        """The digest of the request."""
        return self.request.digest()

    def validate(self, app_state: AppState) -> None:
        """Raise `UnknownModel`, `ModelNotAdmitted`, or `InvalidRequest`: a phrase is too long, or a layer does not exist."""
        check_request(app_state, self.request)

    def admit(self, session: Session, quota: JobQuota) -> NewJob:
        """Raise `LedgerConflict`, `InvalidRequest`, `TooManyPlans`, `PlanQueueFull`."""
        if self.request.ledger:
            ledger_conflicts.check_conflicts(session, self.caller.tenant, self.request)
        quota.reserve_dry_run(self.caller.tenant)
        caller = self.caller
        return NewJob(self.request, caller.key_id, caller.tenant, "plan", max_queue_time=self.max_queue_time)

    def complete(self, session: Session, job: Job, now: datetime) -> Acceptance:
        """Reply with the id of the job. A dry run changes nothing, so it leaves no audit entry."""
        return Acceptance(json.dumps({"id": job.id}))


def check_request(app_state: AppState, request: EditRequest) -> None:
    """Raise `UnknownModel`, `ModelNotAdmitted`, or `InvalidRequest`: a phrase is too long, or a layer does not exist."""
    app_state.token_limits.check(request)
    check_sites(app_state.registry, request)


def check_admission(session: Session, quota: JobQuota, request: EditRequest, caller: Caller) -> None:
    """Raise `LedgerConflict`, `InvalidRequest` or `TooManyJobs` if the request cannot be accepted at present."""
    if request.ledger:
        ledger_conflicts.check_conflicts(session, caller.tenant, request)
    quota.reserve(caller.tenant)


def new_revocation(edit: Job, api_key_id: str) -> NewJob:
    """Return the job that takes an edit out of its ledger."""
    return NewJob(EditRequest.model_validate(edit.request), api_key_id, edit.tenant, "revocation", edit.id)


def revocation_entry(job: Job, actor: str) -> AuditEntry:
    """Return the audit entry of a new revocation."""
    assert job.revokes, "the job is a revocation"
    return AuditEntry(job.tenant, actor, "edit.revoke", job.revokes, {"revocation": job.id})


def creation_entry(job: Job) -> AuditEntry:
    """Return the audit entry of a new edit, without the digest of withheld names, which could be guessed from it."""
    details = {"model": job.model, "ledger": job.request["ledger"]}
    if not job.request["withhold_names"]:
        details["request"] = job.request_digest
    return AuditEntry(job.tenant, job.api_key_id, "edit.create", job.id, details)


def submit(app_state: AppState, pending: PendingJob) -> Submission:
    """Accept one request. Raises what `submit_all` returns for it."""
    (outcome,) = submit_all(app_state, [pending])
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def submit_all(app_state: AppState, pending: Sequence[PendingJob]) -> list[Submission | Exception]:
    """Accept requests in one transaction. A request that is refused does not affect the others.

    Returns, for each request, its `Submission` or the reason for its refusal: `UnknownModel`, `ModelNotAdmitted`,
    `InvalidRequest`, `LedgerConflict`, `NotRevocable`, `WrongCaseState`, `TooManyJobs`, `TooManyPlans`, `PlanQueueFull`,
    `IdempotencyKeyReused`, `IdempotencyConflict`.
    """
    outcomes: dict[PendingJob, Submission | Exception] = {}
    for one in pending:
        try:
            one.validate(app_state)
        except Exception as error:
            outcomes[one] = error
    failpoint("accept.begun")
    with app_state.database.write() as session:
        outcomes |= _accept_all(app_state, session, [one for one in pending if one not in outcomes])
    failpoint("accept.committed")
    return [outcomes[one] for one in pending]


def _accept_all(
    app_state: AppState, session: Session, pending: Sequence[PendingJob]
) -> dict[PendingJob, Submission | Exception]:
    """Accept the whole group at once; if that fails, accept the requests one by one to isolate the failing one."""
    try:
        with session.begin_nested():
            return _accept_group(app_state, session, pending)
    except (OperationalError, InterfaceError):  # the database itself failed, so the transaction is lost
        raise
    except Exception as error:
        if len(pending) == 1:
            return {pending[0]: error}
    return {key: outcome for one in pending for key, outcome in _accept_all(app_state, session, [one]).items()}


@contextmanager
def map_key_collisions() -> Iterator[None]:
    """Raise `IdempotencyConflict` when another process has stored a reply under the same key in the meantime."""
    try:
        yield
    except IntegrityError as error:
        raise IdempotencyConflict(
            "Another request with this Idempotency-Key is being processed.",
            remedy="Send the request again in a second.",
            headers={"Retry-After": "1"},
        ) from error


def _accept_group(
    app_state: AppState, session: Session, pending: Sequence[PendingJob]
) -> dict[PendingJob, Submission | Exception]:
    remembered = idempotency.find_replies(session, {one.scope for one in pending if one.scope})
    quota = JobQuota(session, app_state.settings)
    outcomes: dict[PendingJob, Submission | Exception] = {}
    admitted: dict[PendingJob, NewJob | Job] = {}
    scopes: set[Scope] = set()
    repeated: list[PendingJob] = []
    for one in pending:
        try:
            if one.scope in remembered:
                outcomes[one] = replay(remembered[one.scope], one.fingerprint)
            elif one.scope in scopes:
                repeated.append(one)
            else:
                admitted[one] = one.admit(session, quota)
                scopes |= {one.scope} if one.scope else set()
        except ServiceError as error:
            outcomes[one] = error
    outcomes |= _create(app_state, session, admitted)
    return outcomes | (_accept_group(app_state, session, repeated) if repeated else {})


def find_replay(session: Session, scope: Scope | None, fingerprint: str) -> Submission | None:
    """Return the reply to an earlier request with the same key, or None. Raises `IdempotencyKeyReused`."""
    earlier = idempotency.find_replies(session, {scope}) if scope else {}
    return replay(earlier[scope], fingerprint) if scope in earlier else None


def store_reply(session: Session, scope: Scope | None, reply: Reply, *, now: datetime) -> Submission:
    """Remember a reply under its key, if it has one. Raises `IdempotencyConflict`."""
    with map_key_collisions():
        idempotency.store_replies(session, {scope: reply} if scope else {}, now=now)
    return Submission(reply, replayed=False)


def replay(earlier: Reply, fingerprint: str) -> Submission:
    """Return the reply to an earlier request with the same key. Raises `IdempotencyKeyReused` for another request."""
    if earlier.fingerprint != fingerprint:
        raise IdempotencyKeyReused(
            "This Idempotency-Key was already used with a different request body.",
            remedy="Use a new key for each new request.",
        )
    return Submission(earlier, replayed=True)


def _create(
    app_state: AppState, session: Session, admitted: dict[PendingJob, NewJob | Job]
) -> dict[PendingJob, Submission | Exception]:
    """Create the jobs and their audit entries, and remember the replies."""
    now = app_state.clock()
    new = {one: job for one, job in admitted.items() if isinstance(job, NewJob)}
    created = dict(zip(new, jobs.create_all(session, list(new.values()), now=now), strict=True))
    existing = {one: job for one, job in admitted.items() if isinstance(job, Job)}
    acceptances = {one: one.complete(session, job, now) for one, job in (created | existing).items()}
    replies = {one: Reply(one.fingerprint, ACCEPTED, done.body) for one, done in acceptances.items()}
    with map_key_collisions():
        idempotency.store_replies(session, {one.scope: reply for one, reply in replies.items() if one.scope}, now=now)
    audit.record_all(session, [entry for one in created for entry in acceptances[one].audit_entries], now=now)
    return {one: Submission(reply, replayed=False) for one, reply in replies.items()}
