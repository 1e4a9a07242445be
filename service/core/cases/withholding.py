"""Models that a case withholds are not served."""

from service.core.app_state import AppState
from service.core.caller import Caller
from service.errors import ModelWithheld
from service.store import cases

HUB_HEADERS = {"X-Error-Code": "DisabledRepo", "X-Error-Message": "Access to this resource is disabled."}
"""With which Hub clients recognize a repository that is disabled."""


def check_not_withheld(app_state: AppState, caller: Caller, model: str) -> None:
    """Raise `ModelWithheld` if a case of the caller's tenant withholds a model."""
    with app_state.database.read() as session:
        if cases.is_withheld(session, caller.tenant, model):
            raise ModelWithheld(
                f"A takedown case withholds the model {model}.",
                remedy="GET /v1/cases lists the cases about it.",
                headers=HUB_HEADERS,
            )
