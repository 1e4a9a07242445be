"""Batches: up to a thousand removals in one request, one revision of the ledger, and what became of each."""

from datetime import datetime
from typing import Any, Literal, TypeAlias

from pydantic import Field

from api_schemas.base import Request, Resource
from api_schemas.edits import MAX_REMOVALS, EditOptions, Metadata, ModelName, Validation
from api_schemas.jobs import Edit, Status
from api_schemas.problems import InvalidField

ItemStatus: TypeAlias = Literal[
    "refused", "queued", "running", "canceling", "removed", "failed", "canceled", "expired", "revoked"
]
CSV_COLUMNS = ("concept", "kind", "replacement", "generic", "aliases", "titles", "preserve", "exclude")
"""Of a CSV upload: `concept` must be there. Several names in a cell are separated by `|`."""


class BatchRequest(Request):
    """The body of `POST /v1/batches`. Each removal is looked at by itself: those that can't be done are told apart."""

    model: ModelName = "emoji"
    removals: list[Any] = Field(
        min_length=1,
        max_length=MAX_REMOVALS,
        description="As in `POST /v1/edits`.",
        examples=[[{"concept": "fox", "replacement": "dog face"}, {"concept": "ink", "kind": "style"}]],
        json_schema_extra={"items": {"type": "object"}},
    )
    all_or_nothing: bool = Field(default=False, description="Whether one that is refused stops all others.")
    options: EditOptions = EditOptions()
    validation: Validation = Validation(enabled=False)
    seed: int = Field(default=0, ge=0, lt=2**63)
    metadata: Metadata = Field(default={})


class BatchCounts(Resource):
    """How many of them."""

    total: int
    accepted: int
    refused: int


class Batch(Resource):
    """Many removals that become one revision of your ledger, or none."""

    object: Literal["batch"] = "batch"
    id: str
    model: str
    status: Status = Field(description="Of the edit that makes them.")
    counts: BatchCounts
    revision: int | None = Field(description="That they are in; null until the edit has succeeded.")
    created_at: datetime
    edit: Edit
    url: str
    items_url: str


class BatchItem(Resource):
    """What became of one removal."""

    object: Literal["batch_item"] = "batch_item"
    position: int = Field(description="Its place in the batch, from 0.")
    concept: str = Field(description="As it was sent; empty where nothing was.")
    status: ItemStatus
    place: int | None = Field(description="Its place in the edit's request and report; null where it was refused.")
    errors: list[InvalidField] = Field(default_factory=list)
