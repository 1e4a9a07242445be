"""Carry the ledger of a model over to another one: one edit there that makes all removals that are active here."""

from api_schemas.edits import EditOptions, EditRequest, Removal
from api_schemas.ledgers import LedgerRebase
from service.core.app_state import AppState
from service.core.caller import Caller
from service.errors import InvalidRequest, NothingToRebase
from service.store import ledgers


def rebase_request(app_state: AppState, caller: Caller, model_id: str, body: LedgerRebase) -> EditRequest:
    """Return the edit of the other model.

    Raises:
        NothingToRebase: the ledger has no active removals, or some with different options.
        InvalidRequest: the other model is this one.
    """
    if body.onto == model_id:
        raise InvalidRequest("onto: is the model itself.", remedy="Name another registered model.")
    with app_state.database.read() as session:
        active = ledgers.active_entries(session, caller.tenant, model_id)
        withholds = ledgers.jobs_withholding_names(session, caller.tenant, model_id)
    options = {EditOptions.model_validate(entry.options).model_dump_json() for entry in active}
    if len(options) != 1:
        found = "removals with different options" if active else "no active removals"
        raise NothingToRebase(
            f"The ledger of {model_id} has {found}.",
            remedy=f"Send the removals of GET /v1/models/{model_id}/ledger as edits of the other model.",
        )
    removals = {removal.key: removal for removal in (Removal.model_validate(entry.removal) for entry in active)}
    return EditRequest(
        model=body.onto,
        removals=list(removals.values()),
        ledger=True,
        options=EditOptions.model_validate_json(options.pop()),
        validation=body.validation,
        withhold_names=any(entry.job_id in withholds for entry in active),
        priority=body.priority,
        metadata=body.metadata,
    )
