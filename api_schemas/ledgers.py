"""Ledgers: what is removed from a base model by now, and the revisions that led there."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from api_schemas.base import Resource
from api_schemas.edits import EditOptions, Removal
from api_schemas.jobs import Artifact


class LedgerRemoval(Resource):
    """A removal that holds, and the edit that asked for it."""

    edit: str
    position: int = Field(description="Its place in that edit's request.")
    removal: Removal
    options: EditOptions
    since: int = Field(description="The first revision that has it.")


class ModelLedger(Resource):
    """All that your edits remove from a model: each that asked to join the ledger, none that was revoked."""

    object: Literal["ledger"] = "ledger"
    model: str
    revision: int = Field(description="0: nothing was ever removed.")
    digest: str | None = Field(description="Equal digests mean byte-identical weights. null: there is no revision.")
    removals: list[LedgerRemoval]


class Revision(Resource):
    """A state of the ledger. It never changes; its weights stay what they are."""

    object: Literal["revision"] = "revision"
    model: str
    number: int
    digest: str = Field(description="Of base model and active removals.")
    active: int = Field(description="Removals that hold. 0: the base model is the result, and there are no weights.")
    edit: str = Field(description="The removal, revocation or batch that made it.")
    created_at: datetime
    artifacts: list[Artifact]
    url: str


class SnapshotRemoval(Resource):
    """A removal as the worker hands it to the editor."""

    removal: Removal
    options: EditOptions
    label: str
    since: datetime


class LedgerSnapshot(Resource):
    """A ledger as the worker hands it to the editor: what holds before a request, or after a revocation."""

    active: list[SnapshotRemoval]
    revoked: list[SnapshotRemoval] = Field(default_factory=list, description="What this job takes back.")
