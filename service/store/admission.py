"""Fleets that follow: models that are registered later are edited before they are served.

A tenant's fleet adds a model in the transaction that stores what a job has read of it, so there is no moment at which the
model is served without the edit. Everything else follows from the targets: until the edit is in force, the model is in
quarantine for the tenant, and if it does not come into force, the model is refused.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from api_schemas.fleets import TERMINAL_STATES, FleetRequest, TargetState
from api_schemas.jobs import JobError, ModelStatus
from service.store import audit, fleet_groups, webhooks
from service.store.cases_orm import CaseTarget
from service.store.failpoints import failpoint
from service.store.orm import Fleet, FleetTarget, ModelRegistration, Revision

ACTOR = "service"
SERVED: tuple[TargetState, ...] = ("in_force", "revoked")
"""States of targets whose models are served: a person who revokes an edit exempts the model."""


@dataclass(frozen=True)
class Exclusion:
    """Why a tenant is not served a model that is admitted otherwise."""

    status: ModelStatus
    error: JobError | None = None


def apply_rules(session: Session, row: ModelRegistration, *, is_new_content: bool, now: datetime) -> None:
    """Add a model that has been read to the fleets that follow and select it.

    Args:
        is_new_content: whether a model that is a target already must be edited again.
    """
    following = select(Fleet).where(Fleet.follows).order_by(Fleet.id).with_for_update()
    for fleet in session.scalars(following).all():
        selector = FleetRequest.model_validate(fleet.request).selector
        if fleet_groups.has_properties(row, frozenset(selector.labels), selector.family, selector.encoder):
            _add_target(session, fleet, row, is_new_content, now)


def _add_target(session: Session, fleet: Fleet, row: ModelRegistration, is_new_content: bool, now: datetime) -> None:
    target = session.get(FleetTarget, (fleet.id, row.id))
    if target is not None and not is_new_content:
        return
    group_key = fleet_groups.group_keys(session, fleet.tenant, [row])[row.id]
    columns = {"group_key": group_key, "state": "planned", "followed": True}
    nothing_yet = dict.fromkeys(("edit_id", "carried_from", "error"))
    session.merge(FleetTarget(fleet_id=fleet.id, model=row.id, **columns, **nothing_yet))
    fleet.finished_at = fleet.statement_job_id = None  # a new statement follows the edit
    session.flush()
    audit.record(session, fleet.tenant, ACTOR, "model.quarantine", row.id, now=now, fleet=fleet.id)
    announce(session, fleet.tenant, [row.id], now=now)
    failpoint("model.quarantined")


def exclusions(session: Session, tenant: str, models: Collection[str]) -> Mapping[str, Exclusion]:
    """Return those of some models that the rules of a tenant exclude, by id.

    A model that nobody has read is in quarantine, because it is not known whether a rule selects it.
    """
    if session.scalar(select(Fleet.id).where(Fleet.tenant == tenant, Fleet.follows).limit(1)) is None:
        return {}
    read = select(ModelRegistration.id).where(ModelRegistration.id.in_(models), ModelRegistration.encoders.is_not(None))
    found = dict.fromkeys(set(models) - set(session.scalars(read)), Exclusion("quarantined"))
    open_targets = (
        select(FleetTarget)
        .join(Fleet, Fleet.id == FleetTarget.fleet_id)
        .where(Fleet.tenant == tenant, Fleet.follows, FleetTarget.followed, FleetTarget.state.not_in(SERVED))
        .where(FleetTarget.model.in_(models))
    )
    for target in session.scalars(open_targets):
        excluded = _exclusion(target)
        if excluded.status == "refused" or target.model not in found:
            found[target.model] = excluded
    return found


def announce(session: Session, tenant: str, models: Collection[str], *, now: datetime, decided: bool = False) -> None:
    """Send the status that some models have now for a tenant to its webhook endpoints.

    Args:
        decided: leave out models that wait in quarantine, which was announced when it began.
    """
    excluded = exclusions(session, tenant, models)
    for model in models:
        status = excluded[model].status if model in excluded else "admitted"
        if decided and status == "quarantined":
            continue
        webhooks.enqueue_model_deliveries(session, tenant, model, status, now=now)


def _exclusion(target: FleetTarget) -> Exclusion:
    if target.state not in TERMINAL_STATES:
        return Exclusion("quarantined")
    message = f"the edit that {target.fleet_id} requires is {target.state}"
    return Exclusion("refused", JobError(code="admission_refused", message=message))


def first_served_revision(session: Session, tenant: str, model: str) -> int:
    """Return the first ledger revision that a tenant is served of a model, or 0 if the base model is served too.

    Everything before it lacks what a fleet that follows, or a case, has removed. A revocation makes a later revision.
    """
    by_fleets = select(FleetTarget.edit_id).join(Fleet, Fleet.id == FleetTarget.fleet_id)
    by_fleets = by_fleets.where(Fleet.tenant == tenant, Fleet.follows, FleetTarget.model == model)
    by_cases = select(CaseTarget.edit_id).where(CaseTarget.tenant == tenant, CaseTarget.model == model)
    required = or_(
        Revision.job_id.in_(by_fleets.where(FleetTarget.state.in_(SERVED))),
        Revision.job_id.in_(by_cases.where(CaseTarget.state.in_(("in_force", "revoking")))),
    )
    return session.scalar(select(func.max(Revision.number)).where(required)) or 0
