"""Queries on takedown cases. `service.core.cases` decides what may change; triggers of the database enforce it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, String, and_, cast, exists, func, or_, select
from sqlalchemy import case as sql_case
from sqlalchemy.orm import Session

from api_schemas.cases import ENDED_STATES
from api_schemas.jobs import TERMINAL_STATUSES
from service.store import cases_orm as orm
from service.store.cases_keys import name_digests
from service.store.cases_orm import (
    NEVER,
    Case,
    CaseContest,
    CaseDeadline,
    CaseDecision,
    CaseDesk,
    CaseEvent,
    CaseTarget,
)
from service.store.encryption import SecretBox, generate_encryption_key
from service.store.orm import Job

DUTIES = ("action", "restore_not_after")
"""Deadlines by which something must be done; the others are the ends of periods."""
WAITING_STATES = ("open", "at_risk", "contested")
"""States in which a case waits for a person."""


@dataclass(frozen=True)
class CaseFilter:
    """Which cases to list. None matches any value."""

    states: Sequence[str] | None = None
    basis: str | None = None
    assignee: str | None = None
    claimed_by: str | None = None
    model: str | None = None
    overdue: bool | None = None

    def conditions(self, now: datetime) -> list[ColumnElement[bool]]:
        """Return the filter as SQL conditions."""
        found: list[ColumnElement[bool]] = []
        if self.states is not None:
            found.append(Case.state.in_(self.states))
        if self.basis is not None:
            found.append(cast(Case.bases, String).contains(f'"{self.basis}"', autoescape=True))
        if self.assignee is not None:
            found.append(Case.assignee == self.assignee)
        if self.claimed_by is not None:
            found.append(and_(Case.claimed_by == self.claimed_by, Case.claimed_until > now))
        if self.model is not None:
            found.append(Case.id.in_(select(CaseTarget.case_id).where(CaseTarget.model == self.model)))
        if self.overdue is not None:
            found.append(Case.due_at < now if self.overdue else Case.due_at >= now)
        return found


def desk(session: Session, tenant: str, secret_box: SecretBox) -> CaseDesk:
    """Return the desk of a tenant, locked; create it if there is none."""
    found = session.scalar(select(CaseDesk).where(CaseDesk.tenant == tenant).with_for_update())
    if found is None:
        found = CaseDesk(tenant=tenant, last_number=0, index_key=secret_box.seal(generate_encryption_key()))
        session.add(found)
        session.flush()
    return found


def lock(session: Session, tenant: str | None, case_id: str) -> Case | None:
    """Return a case of a tenant, or of any, locked against other changes; None if there is none."""
    query = select(Case).where(Case.id == case_id).with_for_update().execution_options(populate_existing=True)
    case = session.scalar(query)
    return case if case and tenant in (None, case.tenant) else None


def get(session: Session, tenant: str, case_id: str) -> Case | None:
    """Return a case of a tenant, or None."""
    case = session.get(Case, case_id)
    return case if case and case.tenant == tenant else None


def list_due(
    session: Session, tenant: str, chosen: CaseFilter, *, now: datetime, after: str | None, limit: int
) -> Sequence[Case]:
    """Return cases, the one that is due first at the top, from the one after id `after`."""
    query = select(Case).where(Case.tenant == tenant, *chosen.conditions(now))
    if after is not None and (last := get(session, tenant, after)):
        query = query.where(or_(Case.due_at > last.due_at, and_(Case.due_at == last.due_at, Case.id > last.id)))
    return session.scalars(query.order_by(Case.due_at, Case.id).limit(limit)).all()


def count(session: Session, tenant: str, chosen: CaseFilter, *, now: datetime) -> int:
    """Count cases."""
    return (
        session.scalar(select(func.count()).select_from(Case).where(Case.tenant == tenant, *chosen.conditions(now)))
        or 0
    )


def next_unclaimed(session: Session, tenant: str, *, now: datetime) -> Case | None:
    """Return the case that waits for a person and is due first, locked; None if nobody has to do anything."""
    free = or_(Case.claimed_until.is_(None), Case.claimed_until <= now)
    undecided = or_(Case.pending.is_(None), Case.state == "contested")
    query = select(Case).where(Case.tenant == tenant, Case.state.in_(WAITING_STATES), free, undecided)
    return session.scalar(query.order_by(Case.due_at, Case.id).limit(1).with_for_update(skip_locked=True))


def find_by_name(session: Session, tenant: str, name: str, secret_box: SecretBox) -> Sequence[Case]:
    """Return the cases whose notice has a name, newest first."""
    own = session.get(CaseDesk, tenant)
    if own is None:
        return []
    digests = name_digests(secret_box.open(own.index_key), [name])
    named = select(orm.CaseName.case_id).where(orm.CaseName.digest.in_(digests))
    return session.scalars(select(Case).where(Case.tenant == tenant, Case.id.in_(named)).order_by(Case.id.desc())).all()


def events(session: Session, case_id: str, *, after: int, limit: int) -> Sequence[CaseEvent]:
    """Return the history of a case after event `after`, oldest first."""
    query = select(CaseEvent).where(CaseEvent.case_id == case_id, CaseEvent.seq > after)
    return session.scalars(query.order_by(CaseEvent.seq).limit(limit)).all()


def events_since(session: Session, case_id: str, version: int) -> Sequence[CaseEvent]:
    """Return the events that changed a case after a version."""
    query = select(CaseEvent).where(CaseEvent.case_id == case_id, CaseEvent.version > version)
    return session.scalars(query.order_by(CaseEvent.seq)).all()


def append_event(session: Session, case: Case, actor: str, kind: str, now: datetime, **values: str | None) -> CaseEvent:
    """Append an event. The transaction must hold the lock of the case."""
    last = session.scalar(select(func.max(CaseEvent.seq)).where(CaseEvent.case_id == case.id)) or 0
    fields = {"from_state": None, "to_state": case.state, "sealed": None, **values}
    event = CaseEvent(case_id=case.id, seq=last + 1, at=now, actor=actor, kind=kind, version=case.version, **fields)
    session.add(event)
    session.flush()
    return event


def decisions(session: Session, case_id: str) -> Sequence[CaseDecision]:
    """Return the decisions of a case, oldest first."""
    return session.scalars(select(CaseDecision).where(CaseDecision.case_id == case_id).order_by(CaseDecision.seq)).all()


def contests(session: Session, case_id: str) -> Sequence[CaseContest]:
    """Return the counter-notices and complaints of a case, oldest first."""
    return session.scalars(select(CaseContest).where(CaseContest.case_id == case_id).order_by(CaseContest.id)).all()


def latest_statement(session: Session, case_id: str) -> orm.CaseStatement | None:
    """Return the latest statement of a case, or None."""
    query = select(orm.CaseStatement).where(orm.CaseStatement.case_id == case_id)
    return session.scalar(query.order_by(orm.CaseStatement.id.desc()).limit(1))


def update_due_at(case: Case) -> None:
    """Set when the next unmet duty of a case is due."""
    running = [one.due_at for one in case.deadlines if one.kind in DUTIES and one.met_at is None]
    case.due_at = min(running, default=NEVER)


def withheld_models(session: Session, tenant: str, models: Collection[str]) -> set[str]:
    """Return those of some models that a case of the tenant withholds."""
    query = select(CaseTarget.model).where(CaseTarget.tenant == tenant, CaseTarget.model.in_(models))
    return set(session.scalars(query.where(CaseTarget.state == "withheld")))


def target_of_job(session: Session, job: Job) -> CaseTarget | None:
    """Return the target whose edit or revocation a job is, or None."""
    query = select(CaseTarget).where(CaseTarget.edit_id == (job.revokes or job.id))
    return session.scalar(query.where(CaseTarget.revocation_id == job.id) if job.revokes else query)


def case_requiring(session: Session, edit_id: str) -> Case | None:
    """Return the case that has not ended and whose decision an edit carries out, or None."""
    query = select(Case).join(CaseTarget).where(CaseTarget.edit_id == edit_id, CaseTarget.state != "revoked")
    return session.scalar(query.where(Case.state.not_in(ENDED_STATES)))


def target_without_edit(session: Session, job: Job) -> CaseTarget | None:
    """Return the withheld target without an edit of the case that a removal says it is from, or None."""
    reference = (job.request.get("metadata") or {}).get("case")
    query = select(CaseTarget).join(Case).where(Case.tenant == job.tenant, Case.reference == reference)
    waits = (CaseTarget.model == job.model, CaseTarget.state == "withheld", CaseTarget.edit_id.is_(None))
    return session.scalar(query.where(*waits)) if reference and job.kind == "removal" else None


def due_decisions(session: Session, *, now: datetime, limit: int = 50) -> Sequence[str]:
    """Return the ids of cases with a decision that takes effect now."""
    query = select(Case.id).where(Case.pending_until <= now, Case.state == "decided")
    return session.scalars(query.order_by(Case.pending_until).limit(limit)).all()


def cases_with_ended_jobs(session: Session, *, limit: int = 50) -> Sequence[str]:
    """Return the ids of cases with a target whose edit or revocation has ended."""
    waits_for_edit = or_(
        CaseTarget.state == "queued", and_(CaseTarget.state == "withheld", CaseTarget.verdict.is_(None))
    )
    waits_for_revocation = CaseTarget.state == "revoking"
    job_id = sql_case(  # each target is looked up, instead of all ended jobs
        (waits_for_revocation, CaseTarget.revocation_id), else_=CaseTarget.edit_id
    )
    ended = exists().where(Job.id == job_id, Job.status.in_(TERMINAL_STATUSES))
    waits = or_(waits_for_edit, waits_for_revocation)
    return session.scalars(select(CaseTarget.case_id).where(waits, ended).distinct().limit(limit)).all()


def cases_with_planned_targets(session: Session, *, limit: int = 50) -> Sequence[str]:
    """Return the ids of cases whose edits could not be queued yet, because the tenant had too many jobs."""
    query = (
        select(Case.id).join(CaseTarget).where(Case.state.in_(("applying", "at_risk")), CaseTarget.state == "planned")
    )
    return session.scalars(query.distinct().limit(limit)).all()


def cases_with_reached_deadlines(session: Session, *, now: datetime, limit: int = 50) -> Sequence[str]:
    """Return the ids of cases with a deadline that was reached, and that is neither met nor marked as missed."""
    reached = (CaseDeadline.due_at <= now, CaseDeadline.met_at.is_(None), CaseDeadline.missed_at.is_(None))
    return session.scalars(select(CaseDeadline.case_id).where(*reached).distinct().limit(limit)).all()


def cases_short_of_time(
    session: Session, *, now: datetime, limit: int = 50
) -> Sequence[tuple[str, datetime, datetime]]:
    """Return id, start and end of the action deadline of cases whose edits are still running."""
    query = select(Case.id, CaseDeadline.started_at, CaseDeadline.due_at).join(CaseDeadline)
    running = (Case.state == "applying", CaseDeadline.kind == "action", CaseDeadline.met_at.is_(None))
    rows = session.execute(query.where(*running).order_by(CaseDeadline.due_at).limit(limit))
    return [(case_id, start, end) for case_id, start, end in rows]


def erase_names(session: Session, case_id: str) -> None:
    """Delete the keyed digests of a case's names."""
    session.execute(orm.CaseName.__table__.delete().where(orm.CaseName.case_id == case_id))  # type: ignore[attr-defined]


def store_names(session: Session, case_id: str, digests: Collection[str]) -> None:
    """Replace the keyed digests of a case's names."""
    erase_names(session, case_id)
    session.add_all(orm.CaseName(case_id=case_id, digest=digest) for digest in sorted(digests))
