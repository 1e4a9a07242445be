"""Create fleets: resolve the selector to targets, and store both in one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from api_schemas.edits import EditRequest
from api_schemas.fleets import (
    MAX_TARGETS,
    TERMINAL_STATES,
    Fleet,
    FleetCounts,
    FleetPlan,
    FleetRequest,
    FleetSelector,
    FleetStatus,
    FleetTarget,
    FleetUrls,
)
from api_schemas.jobs import JobError
from api_schemas.problems import invalid_field, invalid_fields
from service.core import edits
from service.core.app_state import AppState
from service.core.caller import Caller
from service.core.edits import Submission
from service.core.model_resources import ModelFilter
from service.core.quotas import JobQuota
from service.errors import InvalidRequest
from service.store import audit, cases, fleet_groups, fleets, orm
from service.store.failpoints import failpoint
from service.store.fleets import NewTarget
from service.store.idempotency import Reply, Scope
from service.store.orm import Job, ModelRegistration

MAX_LISTED = 5
"""Model ids in an error."""


@dataclass(frozen=True)
class PendingFleet:
    """A POST that creates a fleet."""

    caller: Caller
    scope: Scope | None
    request: FleetRequest

    def submit(self, app_state: AppState) -> Submission:
        """Create the fleet. Raises `InvalidRequest`, `TooManyJobs`, `IdempotencyKeyReused`, `IdempotencyConflict`."""
        models = check(app_state, self.request)
        now, digest = app_state.clock(), self.request.digest()
        with app_state.database.write() as session:
            if earlier := edits.find_replay(session, self.scope, digest):
                return earlier
            JobQuota(session, app_state.settings).reserve(self.caller.tenant)
            targets = resolve(session, self.caller.tenant, self.request.selector, models)
            caller = {"tenant": self.caller.tenant, "api_key_id": self.caller.key_id}
            fleet = fleets.create(session, self.request, targets, **caller, now=now)
            reply = Reply(digest, edits.ACCEPTED, resource(session, fleet).model_dump_json())
            submission = edits.store_reply(session, self.scope, reply, now=now)
            details = {"targets": len(targets), "groups": len({one.group_key for one in targets})}
            audit.record(session, self.caller.tenant, self.caller.key_id, "fleet.create", fleet.id, now=now, **details)
            failpoint("fleet.created")
        failpoint("fleet.accepted")
        return submission


def plan(app_state: AppState, caller: Caller, request: FleetRequest) -> FleetPlan:
    """Return the targets and groups that a fleet would have. Raises `InvalidRequest`."""
    models = check(app_state, request)
    with app_state.database.read() as session:
        targets = resolve(session, caller.tenant, request.selector, models)
    listed = [FleetTarget(model=one.model, group=one.group_key) for one in targets]
    groups = len({one.group_key for one in targets})
    return FleetPlan(counts=FleetCounts(total=len(listed), groups=groups, pending=len(listed)), targets=listed)


def check(app_state: AppState, request: FleetRequest) -> list[str]:
    """Check the request itself, and return the ids of all admitted models. Raises `InvalidRequest`."""
    parse_edit(request, "fleet")
    known = {model.id: model.status for model in app_state.registry.all()}
    for index, name in enumerate(request.selector.models):
        if known.get(name) != "admitted":
            status = known.get(name, "not registered")
            raise _refused(
                f"models[{index}]", "model_not_admitted", f"{name} is {status}", "GET /v1/models lists the models."
            )
    return [name for name, status in known.items() if status == "admitted"]


def parse_edit(request: FleetRequest, model: str) -> EditRequest:
    """Return the edit of one model. Raises `InvalidRequest`: the removals contradict each other, or do not fit a ledger."""
    try:
        return request.edit_request(model)
    except ValidationError as error:
        fields = invalid_fields(error.errors())
        raise InvalidRequest(fields[0].message, remedy=fields[0].remedy, errors=fields) from error


def resolve(session: Session, tenant: str, selector: FleetSelector, admitted: Sequence[str]) -> list[NewTarget]:
    """Freeze a selector: return the targets that it selects now, by model. Raises `InvalidRequest`."""
    wanted = ModelFilter(frozenset(selector.labels), selector.family, selector.encoder)
    names = set(admitted) & (set(selector.models) or set(admitted))
    query = select(ModelRegistration).where(ModelRegistration.id.in_(names)).order_by(ModelRegistration.id)
    rows = [row for row in session.scalars(query) if wanted.matches_row(row)]
    unread = [name for name in selector.models if name not in {row.id for row in rows if row.encoders is not None}]
    unread += [row.id for row in rows if row.encoders is None and row.id not in unread]
    if unread:
        listed = ", ".join(unread[:MAX_LISTED])
        raise _refused("", "model_not_read", f"{listed}: not read yet, or not selected", "Wait for their registration.")
    if not 0 < len(rows) <= MAX_TARGETS:
        found = f"selects {len(rows)} models"
        raise _refused(
            "", "no_targets" if not rows else "too_many_targets", found, f"Select 1 to {MAX_TARGETS} models."
        )
    groups = fleet_groups.group_keys(session, tenant, rows)
    return [NewTarget(row.id, groups[row.id]) for row in rows]


def resource(session: Session, fleet: orm.Fleet) -> Fleet:
    """Return a fleet as its owner sees it."""
    rows = fleets.targets(session, fleet.id)
    statement = session.get(Job, fleet.statement_job_id) if fleet.statement_job_id else None
    signed = statement.artifacts[0].sha256 if statement and statement.artifacts else None
    url = f"/v1/fleets/{fleet.id}"
    return Fleet(
        id=fleet.id,
        status=_status(rows, fleet.finished_at is not None),
        request=FleetRequest.model_validate(fleet.request),
        request_digest=fleet.request_digest,
        counts=_counts(rows),
        created_at=fleet.created_at,
        finished_at=fleet.finished_at,
        following=fleet.follows,
        statement=signed,
        urls=FleetUrls(self=url, targets=f"{url}/targets", statement=f"{url}/statement"),
    )


def targets(session: Session, tenant: str, rows: Sequence[orm.FleetTarget]) -> list[FleetTarget]:
    """Return targets as their owner sees them."""
    ids = {name for row in rows for name in (row.edit_id, row.carried_from) if name}
    verdicts = dict(session.execute(select(Job.id, Job.verdict).where(Job.id.in_(ids))).all())
    revisions = fleets.revisions_of(session, rows)
    revocations = fleets.revocations_of(session, rows)
    withheld = cases.withheld_models(session, tenant, [row.model for row in rows])
    return [
        FleetTarget(
            model=row.model,
            state=row.state,
            group=row.group_key,
            application=fleets.application(row),
            edit=row.edit_id,
            followed=row.followed,
            withheld=row.model in withheld,
            carried_from=row.carried_from,
            revision=revisions.get(row.edit_id or ""),
            revocation=revocations.get(row.edit_id or ""),
            verdict=verdicts.get(row.carried_from or row.edit_id or ""),
            error=JobError.model_validate(row.error) if row.error else None,
        )
        for row in rows
    ]


def _status(rows: Sequence[orm.FleetTarget], finished: bool) -> FleetStatus:
    states = {row.state for row in rows}
    if not finished:
        return "running"
    outcomes: tuple[FleetStatus, ...] = ("failed", "canceled", "ineffective", "revoked")
    found = states | ({"failed"} if "conflict" in states else set())
    return next((outcome for outcome in outcomes if outcome in found), "in_force")


def _counts(rows: Sequence[orm.FleetTarget]) -> FleetCounts:
    states = fleets.summarize(rows)
    return FleetCounts(
        total=len(rows),
        groups=len({row.group_key for row in rows}),
        in_force=states.get("in_force", 0),
        ineffective=states.get("ineffective", 0),
        revoked=states.get("revoked", 0),
        failed=sum(states.get(name, 0) for name in ("failed", "conflict", "canceled")),
        pending=sum(count for name, count in states.items() if name not in TERMINAL_STATES),
    )


def _refused(place: str, code: str, message: str, remedy: str) -> InvalidRequest:
    where = ["selector", *([place] if place else [])]
    problem = invalid_field(where, code=code, message=message, remedy=remedy)
    return InvalidRequest(f"selector: {message}", remedy=remedy, errors=[problem])
