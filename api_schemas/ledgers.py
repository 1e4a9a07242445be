"""Ledgers: the active removals of a base model, and their revisions."""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from api_schemas.base import Request, Resource
from api_schemas.edits import EditOptions, Metadata, ModelName, Priority, Removal, Validation
from api_schemas.jobs import Artifact


class LedgerRemoval(Resource):
    """An active removal and its edit."""

    edit: str
    position: int = Field(description="Index in the edit's request.")
    removal: Removal
    options: EditOptions
    since: int = Field(description="The first revision with this removal.")


class ModelLedger(Resource):
    """The active removals of your edits of a model: those that joined the ledger and were not revoked."""

    object: Literal["ledger"] = "ledger"
    model: str
    revision: int = Field(description="0: there is no revision yet.")
    digest: str | None = Field(description="Equal digests mean byte-identical weights. null: there is no revision.")
    removals: list[LedgerRemoval]


class LedgerRebase(Request):
    """The body of `POST /v1/models/{model_id}/ledger/rebase`."""

    onto: ModelName = Field(description="The base model whose ledger gets the active removals.")
    validation: Validation = Validation()
    priority: Priority = "normal"
    metadata: Metadata = Field(default={})


class Revision(Resource):
    """A revision of the ledger. Revisions and their weights never change."""

    object: Literal["revision"] = "revision"
    model: str
    number: int
    digest: str = Field(description="Digest of the base model and the active removals.")
    active: int = Field(
        description="Number of active removals. 0: the result is the base model, and there are no weights."
    )
    edit: str = Field(description="The edit, revocation or batch that created the revision.")
    created_at: datetime
    artifacts: list[Artifact]
    url: str


class SnapshotRemoval(Resource):
    """A removal as the worker passes it to the editor."""

    removal: Removal
    options: EditOptions
    parameters: dict[str, Any] = Field(
        default_factory=dict, description="What the editor found for it when it was added."
    )
    label: str
    since: datetime
    withhold_name: bool = Field(True, description="Whether published files leave the name out.")


class LedgerSnapshot(Resource):
    """A ledger as the worker passes it to the editor: active before a removal, or after a revocation."""

    active: list[SnapshotRemoval]
    revoked: list[SnapshotRemoval] = Field(default_factory=list, description="Removals that this job revokes.")
