"""The audit log, as a tenant reads it."""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from api_schemas.base import Resource


class AuditLine(Resource):
    """A line of the audit log. `hash` covers the line and `previous`, the hash of the previous line of any tenant."""

    object: Literal["audit_line"] = "audit_line"
    seq: int
    at: datetime
    actor: str = Field(description="The id of an API key, `operator` or `service`.")
    action: str = Field(examples=["edit.create"])
    target: str = Field(
        description="The resource that the action applied to.", examples=["edit_01JC0000000000000000000000"]
    )
    details: dict[str, Any]
    previous: str
    hash: str
