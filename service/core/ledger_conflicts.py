"""Conflicts between a request and the removals that are active in a ledger, found before anything is queued."""

from collections.abc import Sequence
from itertools import groupby

from sqlalchemy.orm import Session

from api_schemas.conflicts import Conflict, LabelledRemoval, find_name_conflicts
from api_schemas.edits import EditOptions, EditRequest, Removal
from api_schemas.problems import invalid_field
from service.errors import InvalidRequest, LedgerConflict
from service.store import ledgers
from service.store.orm import LedgerEntry

REQUEST_LABEL = "removals"
"""Label of a new request's removals in conflicts; the ledger's removals are labelled with their edit."""


def check_conflicts(session: Session, tenant: str, request: EditRequest) -> None:
    """Raise unless a request can join the tenant's ledger of its model.

    Only names are compared here. The worker, which has the tokenizer, checks again.

    Raises:
        LedgerConflict: The request contradicts an active removal; both are named.
        InvalidRequest: The request has another aim than the active removals.
    """
    active = ledgers.active_entries(session, tenant, request.model)
    _check_aim(active, request)
    if conflicts := find_conflicts(active, request.removals, request.options.pins):
        raise LedgerConflict(
            f"{conflicts[0].message}.",
            remedy=f"{conflicts[0].remedy} GET /v1/models/{request.model}/ledger lists the active removals.",
            conflicts=conflicts,
        )


def find_conflicts(
    active: Sequence[LedgerEntry], removals: Sequence[Removal], pins: Sequence[str] = ()
) -> list[Conflict]:
    """Return the conflicts of severity `error` that involve at least one of the new removals."""
    new = [
        LabelledRemoval(f"{REQUEST_LABEL}[{index}]", removal, tuple(pins) if index == 0 else ())
        for index, removal in enumerate(removals)
    ]
    labels = {one.label for one in new}
    return [
        conflict
        for conflict in find_name_conflicts([*_label_entries(active), *new])
        if conflict.severity == "error" and {conflict.left.label, conflict.right.label} & labels
    ]


def _label_entries(active: Sequence[LedgerEntry]) -> list[LabelledRemoval]:
    """Label the active removals with their edit. An edit's pins belong to its first removal."""
    labelled = []
    for job_id, entries in groupby(active, key=lambda entry: entry.job_id):
        for index, entry in enumerate(entries):
            pins = EditOptions.model_validate(entry.options).pins if index == 0 else []
            label = f"{job_id}.removals[{entry.position}]"
            labelled.append(LabelledRemoval(label, Removal.model_validate(entry.removal), tuple(pins)))
    return labelled


def _check_aim(active: Sequence[LedgerEntry], request: EditRequest) -> None:
    aims = {EditOptions.model_validate(entry.options).aim for entry in active}
    if aims - {request.options.aim}:
        invalid = invalid_field(
            ("options", "aim"),
            code="another_aim",
            message=f"all removals of a ledger must have the same aim; the active ones have {sorted(aims)[0]}",
            remedy="Use that aim.",
        )
        raise InvalidRequest("The request cannot join the ledger.", errors=[invalid])
