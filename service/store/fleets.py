"""Fleets in the database: frozen targets, and the step that leads a fleet to its end.

Each step is one transaction that derives everything from the targets and their jobs, so it may be interrupted anywhere and run
by any number of processes: a step that finds nothing new changes nothing.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from api_schemas.fleets import TERMINAL_STATES, Application, FleetRequest, FleetTask, TargetState
from api_schemas.jobs import TERMINAL_STATUSES
from service.store import admission, audit, jobs
from service.store.admission import ACTOR
from service.store.audit import AuditEntry
from service.store.failpoints import failpoint
from service.store.ids import prefixed_id
from service.store.jobs import NewJob
from service.store.orm import Fleet, FleetTarget, Job, Revision, add_rows

IN_LEDGER: tuple[TargetState, ...] = ("in_force", "ineffective")
"""States of targets whose edits have succeeded and were not revoked."""


@dataclass(frozen=True)
class NewTarget:
    """A model of a new fleet."""

    model: str
    group_key: str


def create(
    session: Session,
    request: FleetRequest,
    targets: Sequence[NewTarget],
    *,
    tenant: str,
    api_key_id: str,
    now: datetime,
) -> Fleet:
    """Create a fleet with its frozen targets. The dispatcher queues the edits."""
    fleet = Fleet(
        id=prefixed_id("fleet", now),
        tenant=tenant,
        api_key_id=api_key_id,
        request=request.model_dump(mode="json"),
        request_digest=request.digest(),
        created_at=now,
        follows=request.follow,
    )
    session.add(fleet)
    session.flush()
    new = {"fleet_id": fleet.id, "state": "planned", "followed": False}
    add_rows(session, FleetTarget, [new | vars(one) for one in targets])
    return fleet


def get(session: Session, tenant: str, fleet_id: str) -> Fleet | None:
    """Return the fleet if it belongs to the tenant, else None."""
    fleet = session.get(Fleet, fleet_id)
    return fleet if fleet and fleet.tenant == tenant else None


def list_recent(session: Session, tenant: str, *, after: str | None, limit: int) -> Sequence[Fleet]:
    """Return the tenant's fleets, newest first, from the one after id `after`."""
    query = select(Fleet).where(Fleet.tenant == tenant)
    query = query if after is None else query.where(Fleet.id < after)
    return session.scalars(query.order_by(Fleet.id.desc()).limit(limit)).all()


def targets(session: Session, fleet_id: str) -> Sequence[FleetTarget]:
    """Return the targets of a fleet, by model."""
    return session.scalars(
        select(FleetTarget).where(FleetTarget.fleet_id == fleet_id).order_by(FleetTarget.model)
    ).all()


def carried_from(session: Session, job_id: str) -> str | None:
    """Return the edit whose delta a job carries over to its model, or None if the job solves its own."""
    return session.scalar(select(FleetTarget.carried_from).where(FleetTarget.edit_id == job_id))


def application(row: FleetTarget) -> Application | None:
    """Return how a target gets its weights; None if it has no edit."""
    return None if row.edit_id is None else "carried" if row.carried_from else "solved"


def revisions_of(session: Session, rows: Iterable[FleetTarget]) -> dict[str, int]:
    """Return the ledger revision that each edit of some targets added, by edit."""
    edits = [row.edit_id for row in rows if row.edit_id]
    found = session.execute(select(Revision.job_id, Revision.number).where(Revision.job_id.in_(edits)))
    return {job_id: number for job_id, number in found}  # noqa: C416


def revocations_of(session: Session, rows: Iterable[FleetTarget]) -> dict[str, str]:
    """Return the job that revoked each edit of some targets, by edit."""
    revoked = Job.revokes.in_([row.edit_id for row in rows if row.edit_id])
    found = session.execute(select(Job.revokes, Job.id).where(revoked, Job.status == "succeeded"))
    return {edit: revocation for edit, revocation in found if edit}


def advance_all(session: Session, *, now: datetime) -> None:
    """Take one step with each fleet that has not ended."""
    unfinished = select(Fleet).where(Fleet.finished_at.is_(None)).with_for_update(skip_locked=True)
    for fleet in session.scalars(unfinished).all():
        advance(session, fleet, now=now)


def advance(session: Session, fleet: Fleet, *, now: datetime) -> None:
    """Record the edits that have ended, queue those that are next, and in the end the statement."""
    rows = targets(session, fleet.id)
    open_rows = [row for row in rows if row.state not in TERMINAL_STATES]
    _record_ended(session, rows)
    _record_revoked(session, rows)
    _queue_next(session, fleet, rows, now)
    _record_admissions(session, fleet, [row for row in open_rows if _has_decided(row)], now)
    failpoint("fleet.written")
    if all(row.state in TERMINAL_STATES for row in rows):
        _finish(session, fleet, now)


def _record_ended(session: Session, rows: Sequence[FleetTarget]) -> None:
    queued = {row.edit_id: row for row in rows if row.state == "queued"}
    ended = session.scalars(select(Job).where(Job.id.in_(queued), Job.status.in_(TERMINAL_STATUSES))).all()
    sources = {row.carried_from for row in queued.values()}
    verdicts = dict(session.execute(select(Job.id, Job.verdict).where(Job.id.in_(sources))).all())
    added = revisions_of(session, queued.values())
    for job in ended:
        row = queued[job.id]
        row.state = _outcome(job, job.id in added, verdicts.get(row.carried_from or job.id, job.verdict))
        row.error = job.error


def _record_revoked(session: Session, rows: Sequence[FleetTarget]) -> None:
    """Record which edits were revoked since. A delta that was carried over is in a ledger of its own, and stays."""
    in_ledgers = [row for row in rows if row.state in IN_LEDGER]
    revoked = revocations_of(session, in_ledgers)
    for row in in_ledgers:
        if row.edit_id in revoked:
            row.state = "revoked"


def _outcome(job: Job, has_revision: bool, verdict: str | None) -> TargetState:
    """Return the state of a target from its ended edit, and the verdict where its delta was measured."""
    if job.status == "canceled":
        return "canceled"
    if job.status != "succeeded":
        return "conflict" if job.error and job.error.get("code") == "ledger_conflict" else "failed"
    return "in_force" if has_revision and verdict in (None, "passed") else "ineffective"


def _queue_next(session: Session, fleet: Fleet, rows: Sequence[FleetTarget], now: datetime) -> None:
    """Queue the first edit of each group, and after it those that carry its delta over."""
    groups: dict[str, list[FleetTarget]] = defaultdict(list)
    for row in rows:
        groups[row.group_key].append(row)
    to_queue: list[FleetTarget] = []
    for members in groups.values():
        to_queue += _next_of(session, members)
    request = FleetRequest.model_validate(fleet.request)
    new = [NewJob(request.edit_request(row.model), fleet.api_key_id, fleet.tenant) for row in to_queue]
    created = jobs.create_all(session, new, now=now)
    for row, job in zip(to_queue, created, strict=True):
        row.state, row.edit_id = "queued", job.id
    session.flush()
    audit.record_all(session, [_audit_entry(fleet, job) for job in created], now=now)
    if created:
        failpoint("fleet.carried" if any(row.carried_from for row in to_queue) else "fleet.queued")


def _next_of(session: Session, members: Sequence[FleetTarget]) -> list[FleetTarget]:
    planned = [row for row in members if row.state == "planned"]
    if not planned:
        return []
    solved = next((row for row in members if row.carried_from is None and row.state in IN_LEDGER), None)
    if solved is None:
        is_solving = any(row.state == "queued" for row in members)
        return [] if is_solving else planned[:1]
    if not revisions_of(session, [solved]):
        for row in planned:  # the weights failed their gates and were not published
            row.state, row.carried_from = "ineffective", solved.edit_id
        return []
    for row in planned:
        row.carried_from = solved.edit_id
    return planned


def _audit_entry(fleet: Fleet, job: Job) -> AuditEntry:
    return AuditEntry(fleet.tenant, ACTOR, "edit.create", job.id, {"model": job.model, "fleet": fleet.id})


def _has_decided(row: FleetTarget) -> bool:
    """Return whether the model of a target that was open is now admitted or refused."""
    return row.followed and row.state in TERMINAL_STATES


def _record_admissions(session: Session, fleet: Fleet, rows: Sequence[FleetTarget], now: datetime) -> None:
    if rows:
        session.flush()
        audit.record_all(session, [_admission_entry(fleet, row) for row in rows], now=now)
        admission.announce(session, fleet.tenant, [row.model for row in rows], now=now, decided=True)
        failpoint("model.admitted")


def _admission_entry(fleet: Fleet, row: FleetTarget) -> AuditEntry:
    action = "model.admit" if row.state == "in_force" else "model.refuse"
    return AuditEntry(fleet.tenant, ACTOR, action, row.model, {"fleet": fleet.id, "edit": row.edit_id})


def _finish(session: Session, fleet: Fleet, now: datetime) -> None:
    """Queue the job that signs the statement; when it has ended, the fleet has."""
    job = session.get(Job, fleet.statement_job_id) if fleet.statement_job_id else None
    if job is None:
        task = FleetTask(fleet=fleet.id)
        created = jobs.create(session, NewJob(task, fleet.api_key_id, fleet.tenant, "statement"), now=now)
        fleet.statement_job_id = created.id
        failpoint("fleet.stated")
    elif job.status in TERMINAL_STATUSES:
        fleet.finished_at = now
        state = summarize(targets(session, fleet.id))
        audit.record(session, fleet.tenant, ACTOR, "fleet.end", fleet.id, now=now, **state)
        failpoint("fleet.ended")


def record_solved(session: Session, edit_id: str) -> None:
    """Record that an edit was solved for its model, although it may have been queued to carry a delta over."""
    session.execute(update(FleetTarget).where(FleetTarget.edit_id == edit_id).values(carried_from=None))


def reopen(session: Session, edit_id: str) -> None:
    """Let the fleet of an edit take another step, because the edit was revoked: it records that, and signs a new statement."""
    query = select(Fleet).join(FleetTarget).where(FleetTarget.edit_id == edit_id).with_for_update(of=Fleet)
    for fleet in session.scalars(query).all():
        fleet.finished_at = fleet.statement_job_id = None


def replace_edit(session: Session, failed_id: str, job: Job, *, now: datetime) -> None:
    """Let the target that waited for a failed edit wait for the one that retries it, and the fleet with it."""
    row = session.scalar(select(FleetTarget).where(FleetTarget.edit_id == failed_id))
    if row is not None:
        fleet = session.scalars(select(Fleet).where(Fleet.id == row.fleet_id).with_for_update()).one()
        session.refresh(row)
        if row.edit_id == failed_id:
            row.edit_id, row.state, row.error = job.id, "queued", None
            fleet.finished_at = fleet.statement_job_id = None  # a new statement follows the edit
            session.flush()
            if fleet.follows and row.followed:
                admission.announce(session, fleet.tenant, [row.model], now=now)
            failpoint("fleet.written")


def summarize(rows: Sequence[FleetTarget]) -> Mapping[str, int]:
    """Count the targets by state."""
    counts: dict[str, int] = defaultdict(int)
    for row in rows:
        counts[row.state] += 1
    return dict(counts)


def cancel(session: Session, fleet: Fleet, *, now: datetime) -> None:
    """Cancel what is planned, queued or running, and follow no more models. Edits that have ended stay."""
    rows = targets(session, fleet.id)
    excluded = [row.model for row in rows if fleet.follows and row.followed and row.state not in admission.SERVED]
    fleet.follows = False
    for row in rows:
        if row.state == "planned":
            row.state = "canceled"
        elif row.state == "queued" and row.edit_id:
            jobs.cancel(session, row.edit_id, now=now)
    session.flush()
    admission.announce(session, fleet.tenant, excluded, now=now, decided=True)
