"""The weights of models that a case withholds are not served."""

from service.core.app_state import AppState
from service.errors import ModelWithheld
from service.store import cases

HUB_HEADERS = {"X-Error-Code": "DisabledRepo", "X-Error-Message": "Access to this resource is disabled."}
"""With which Hub clients recognize a repository that is disabled."""

WEIGHT_KINDS = frozenset({"weights", "delta", "lora"})
"""Kinds of published files with which somebody can run the model."""


def check_not_withheld(app_state: AppState, tenant: str, model: str) -> None:
    """Raise `ModelWithheld` if a case of the tenant withholds a model."""
    with app_state.database.read() as session:
        if cases.withheld_models(session, tenant, [model]):
            raise ModelWithheld(
                f"A takedown case withholds the model {model}.",
                remedy="GET /v1/cases lists the cases about it.",
                headers=HUB_HEADERS,
            )
