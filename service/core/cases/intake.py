"""Notices come in: a case is created, its missing fields are named, and its clocks start once the notice is complete."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from api_schemas.cases import DeadlineKind
from api_schemas.cases_requests import CaseRequest, CaseUpdate, Notice, NoticeUpdate
from api_schemas.problems import invalid_field
from service.core.app_state import AppState
from service.core.caller import Caller
from service.core.cases.bases import load_rules
from service.core.cases.change import CaseChange, changing
from service.core.edits import find_replay, store_reply
from service.errors import InvalidRequest
from service.store import cases
from service.store.cases_keys import generate_data_key, name_digests
from service.store.cases_orm import NEVER, Case, CaseDeadline, CaseTarget
from service.store.failpoints import failpoint
from service.store.idempotency import Reply, Scope
from service.store.ids import prefixed_id

CREATED = 201


@dataclass(frozen=True)
class NewCase:
    """The identity of a case that was created."""

    id: str
    replayed: bool
    """Whether an earlier request with the same Idempotency-Key created it."""


def create(app_state: AppState, caller: Caller, request: CaseRequest, scope: Scope | None = None) -> NewCase:
    """Create a case from a notice. Raises `InvalidRequest`, `UnknownModel`, `IdempotencyKeyReused`."""
    now, received_at = app_state.clock(), request.received_at
    rules = load_rules(app_state.settings.case_bases)
    missing = rules.missing_fields(request.bases, request.notice)
    check_past(("received_at",), received_at, now)
    for model in request.models:
        app_state.registry.get(model)
    with app_state.database.write() as session:
        fingerprint = _fingerprint(app_state, session, caller, request)
        if earlier := find_replay(session, scope, fingerprint):
            return NewCase(earlier.reply.body, replayed=True)
        case = _insert(app_state, session, caller, request, received_at or now)
        store_reply(session, scope, Reply(fingerprint, CREATED, case.id), now=now)
        change = CaseChange(app_state, session, case, caller, now)
        change.note("received")
        _set_notice(change, request.notice, missing)
        change.finish()
        failpoint("case.written")
    failpoint("case.committed")
    return NewCase(case.id, replayed=False)


def _fingerprint(app_state: AppState, session: Session, caller: Caller, request: CaseRequest) -> str:
    """Return a keyed digest of the request: names could be guessed from a bare one. Locks the desk of the tenant."""
    secret_box = app_state.settings.secret_box()
    index_key = secret_box.open(cases.desk(session, caller.tenant, secret_box).index_key)
    (digest,) = name_digests(index_key, [request.model_dump_json()])
    return digest


def _insert(app_state: AppState, session: Session, caller: Caller, request: CaseRequest, received_at: datetime) -> Case:
    """Insert the case with its targets, under the next reference of the tenant."""
    secret_box, now, key = app_state.settings.secret_box(), app_state.clock(), generate_data_key()
    desk = cases.desk(session, caller.tenant, secret_box)
    desk.last_number += 1
    case = Case(
        id=prefixed_id("case", now),
        tenant=caller.tenant,
        reference=f"C-{received_at:%Y}-{desk.last_number:05}",
        bases=request.bases,
        state="received",
        priority=request.priority,
        territories=request.territories,
        source=request.source,
        role=request.notice.role,
        received_at=received_at,
        missing=[],
        version=0,
        due_at=NEVER,
        automated_detection=request.automated_detection,
        automated_decision=False,
        held=False,
        created_by=caller.key_id,
        created_at=now,
        data_key=secret_box.seal(key.key),
        sealed_notice=key.seal(request.notice.model_dump_json()),
    )
    session.add(case)
    session.flush()
    add_targets(session, case, request.models, now)
    return case


def add_targets(session: Session, case: Case, models: list[str], now: datetime) -> None:
    """Add targets for the models that the case does not have yet."""
    known = {target.model for target in case.targets}
    for model in dict.fromkeys(models):
        if model not in known:
            case.targets.append(
                CaseTarget(
                    id=prefixed_id("tgt", now), case_id=case.id, tenant=case.tenant, model=model, state="planned"
                )
            )
    session.flush()


def replace_notice(app_state: AppState, caller: Caller, case_id: str, request: NoticeUpdate) -> None:
    """Replace the notice of a case that is not decided yet; a notice that becomes complete opens it."""
    with changing(app_state, caller, case_id, request.version, ("received", "incomplete", "open")) as change:
        missing = change.rules.missing_fields(change.case.bases, request.notice)
        change.case.sealed_notice = change.key.seal(request.notice.model_dump_json())
        change.case.role = request.notice.role
        change.note("notice_replaced")
        _set_notice(change, request.notice, missing)


def update(app_state: AppState, caller: Caller, case_id: str, request: CaseUpdate) -> None:
    """Change the priority, the assignee or the territories of a case."""
    with changing(app_state, caller, case_id, request.version) as change:
        for name in ("priority", "assignee", "territories"):
            if (value := getattr(request, name)) is not None:
                setattr(change.case, name, value)
        change.note("updated")


def _set_notice(change: CaseChange, notice: Notice, missing: list[str]) -> None:
    """Index the names of a notice, and move the case to `open` or `incomplete`."""
    case, session = change.case, change.session
    names = [*filter(None, [notice.concept, notice.notifier.name, notice.notifier.email]), *notice.aliases]
    secret_box = change.app_state.settings.secret_box()
    index_key = secret_box.open(cases.desk(session, case.tenant, secret_box).index_key)
    cases.store_names(session, case.id, name_digests(index_key, names))
    case.missing = missing
    if case.state == "open":
        return
    if missing:
        if case.state != "incomplete":
            change.move("incomplete")
        return
    case.complete_at = case.received_at if case.state == "received" else change.now
    for basis in case.bases:
        start_deadline(change, basis, "action", case.complete_at)
    change.move("open", "opened")


def start_deadline(change: CaseChange, basis: str, kind: DeadlineKind, start: datetime) -> CaseDeadline | None:
    """Start the clock of a basis, if it has one of this kind, and return the deadline."""
    due_at = change.rules.due(basis, kind, start)
    if due_at is None:
        return None
    deadline = CaseDeadline(
        id=prefixed_id("dl", change.now),
        case_id=change.case.id,
        kind=kind,
        basis=basis,
        rule=change.rules.basis(basis).clocks[kind],
        rule_version=change.rules.version,
        started_at=start,
        due_at=due_at,
    )
    change.session.add(deadline)
    change.session.flush()
    change.session.refresh(change.case, ["deadlines"])
    return deadline


def meet_deadlines(change: CaseChange, *kinds: DeadlineKind) -> None:
    """Mark the unmet deadlines of these kinds as met."""
    for deadline in change.case.deadlines:
        if deadline.kind in kinds and deadline.met_at is None:
            deadline.met_at = change.now


def check_past(location: tuple[str, ...], time: datetime | None, now: datetime) -> None:
    """Raise `InvalidRequest` if something is said to have happened in the future."""
    if time is not None and time > now:
        error = invalid_field(location, code="in_future", message="is in the future", remedy="Send the actual time.")
        raise InvalidRequest("The request has a time in the future.", errors=[error])
