"""A request beside what a ledger holds already: contradictions are told before anything is queued."""

from collections.abc import Sequence
from itertools import groupby

from sqlalchemy.orm import Session

from api_schemas.conflicts import Conflict, LabelledRemoval, name_conflicts
from api_schemas.edits import EditOptions, EditRequest, Removal
from api_schemas.problems import invalid_field
from service.errors import InvalidRequest, LedgerConflict
from service.store import ledgers
from service.store.orm import LedgerEntry

NEW = "removals"
"""What conflicts call the removals of the request at hand; those that hold are called by their edit."""


def refuse_conflicts(session: Session, tenant: str, request: EditRequest) -> None:
    """Raise unless a request can join the tenant's ledger of its model.

    Only names are looked at here; the worker has the tokenizer, and looks again.

    Raises:
        LedgerConflict: it contradicts what holds; both parties are named.
        InvalidRequest: it asks for another aim than those that hold.
    """
    held = ledgers.active(session, tenant, request.model)
    _refuse_other_aim(held, request)
    if found := contradictions(held, request.removals, request.options.pins):
        raise LedgerConflict(
            f"{found[0].message}.",
            remedy=f"{found[0].remedy} GET /v1/models/{request.model}/ledger lists what holds.",
            conflicts=found,
        )


def contradictions(
    held: Sequence[LedgerEntry], removals: Sequence[Removal], pins: Sequence[str] = ()
) -> list[Conflict]:
    """The errors among the conflicts that one of the new removals is a party of."""
    new = [
        LabelledRemoval(f"{NEW}[{place}]", removal, tuple(pins) if place == 0 else ())
        for place, removal in enumerate(removals)
    ]
    labels = {one.label for one in new}
    return [
        conflict
        for conflict in name_conflicts([*labelled(held), *new])
        if conflict.severity == "error" and {conflict.left.label, conflict.right.label} & labels
    ]


def labelled(held: Sequence[LedgerEntry]) -> list[LabelledRemoval]:
    """What holds, called by the edit that brought it; an edit's pins go with its first removal."""
    found = []
    for job_id, entries in groupby(held, key=lambda entry: entry.job_id):
        pins = True
        for entry in entries:
            options = EditOptions.model_validate(entry.options)
            label = f"{job_id}.removals[{entry.position}]"
            found.append(
                LabelledRemoval(label, Removal.model_validate(entry.removal), tuple(options.pins) if pins else ())
            )
            pins = False
    return found


def _refuse_other_aim(held: Sequence[LedgerEntry], request: EditRequest) -> None:
    aims = {EditOptions.model_validate(entry.options).aim for entry in held}
    if aims - {request.options.aim}:
        field = invalid_field(
            ("options", "aim"),
            code="another_aim",
            message=f"all removals of a ledger have one aim; those that hold have {sorted(aims)[0]}",
            remedy="Use that one.",
        )
        raise InvalidRequest("the request cannot join the ledger.", errors=[field])
