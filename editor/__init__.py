"""Remove concepts from text-to-image models, and prove what was removed and what was kept.

    model = editor.open_model(editor.EMOJI)
    request = editor.EditRequest.model_validate({"model": "emoji", "removals": [{"concept": "fox"}]})
    edits = editor.solve(model, request)

`editor.__all__` is the public API. Its members are imported on first use, because they need torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from api_schemas.attestation import Verification
    from api_schemas.edits import EditRequest
    from api_schemas.report import AuditReport
    from editor.checkpoints.tensor_update import TensorUpdate
    from editor.emoji import JUDGE as EMOJI_JUDGE
    from editor.emoji import WEIGHTS as EMOJI
    from editor.jobs.forecast import Forecast, forecast, solve
    from editor.jobs.local_erasure import Erasure, erase
    from editor.jobs.model import Model, open_model
    from editor.ledger import LedgerFolder
    from editor.methods.tensor_edits import TensorEdit
    from editor.prompts.resolve_request import resolve_request
    from editor.publishing.apply import apply_delta
    from editor.publishing.attestation.verify import verify_bundle
    from editor.publishing.delta import write_delta

__all__ = [
    "EMOJI",
    "EMOJI_JUDGE",
    "AuditReport",
    "EditRequest",
    "Erasure",
    "Forecast",
    "LedgerFolder",
    "Model",
    "TensorEdit",
    "TensorUpdate",
    "Verification",
    "apply_delta",
    "erase",
    "forecast",
    "open_model",
    "resolve_request",
    "solve",
    "verify_bundle",
    "write_delta",
]

_HOMES = {
    "AuditReport": "api_schemas.report",
    "EMOJI": "editor.emoji:WEIGHTS",
    "EMOJI_JUDGE": "editor.emoji:JUDGE",
    "EditRequest": "api_schemas.edits",
    "Erasure": "editor.jobs.local_erasure",
    "Forecast": "editor.jobs.forecast",
    "LedgerFolder": "editor.ledger",
    "Model": "editor.jobs.model",
    "TensorEdit": "editor.methods.tensor_edits",
    "TensorUpdate": "editor.checkpoints.tensor_update",
    "Verification": "api_schemas.attestation",
    "apply_delta": "editor.publishing.apply",
    "erase": "editor.jobs.local_erasure",
    "forecast": "editor.jobs.forecast",
    "open_model": "editor.jobs.model",
    "resolve_request": "editor.prompts.resolve_request",
    "solve": "editor.jobs.forecast",
    "verify_bundle": "editor.publishing.attestation.verify",
    "write_delta": "editor.publishing.delta",
}
"""Public name -> ``module`` or ``module:name``."""


def __getattr__(name: str) -> Any:
    """Import a member of the public API (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'editor' has no attribute {name!r}")
    module, _, member = _HOMES[name].partition(":")
    return getattr(import_module(module), member or name)


def __dir__() -> list[str]:
    """List the public API."""
    return __all__
