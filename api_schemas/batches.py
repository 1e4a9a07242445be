"""Batches: up to a thousand removals in one request, which become one revision of the ledger."""

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
"""Columns of a CSV upload. Only `concept` is required. Several names in a cell are separated by `|`."""


class BatchRequest(Request):
    """The body of `POST /v1/batches`. Items are validated independently; rejected items are reported per item."""

    model: ModelName = "emoji"
    removals: list[Any] = Field(
        min_length=1,
        max_length=MAX_REMOVALS,
        description="Removals as in `POST /v1/edits`.",
        examples=[[{"concept": "fox", "replacement": "dog face"}, {"concept": "ink", "kind": "style"}]],
        json_schema_extra={"items": {"type": "object"}},
    )
    all_or_nothing: bool = Field(default=False, description="Reject the whole batch if any removal is rejected.")
    options: EditOptions = EditOptions()
    validation: Validation = Validation(enabled=False)
    seed: int = Field(default=0, ge=0, lt=2**63)
    metadata: Metadata = Field(default={})


class BatchCounts(Resource):
    """Numbers of removals."""

    total: int
    accepted: int
    refused: int


class Batch(Resource):
    """A batch of removals, which becomes one revision of your ledger, or none."""

    object: Literal["batch"] = "batch"
    id: str
    model: str
    status: Status = Field(description="Status of the batch's edit.")
    counts: BatchCounts
    revision: int | None = Field(description="The revision with these removals; null until the edit has succeeded.")
    created_at: datetime
    edit: Edit
    url: str
    items_url: str


class BatchItem(Resource):
    """The outcome of one removal."""

    object: Literal["batch_item"] = "batch_item"
    position: int = Field(description="Index in the batch, from 0.")
    concept: str = Field(description="The concept as it was sent; empty if there was none.")
    status: ItemStatus
    place: int | None = Field(description="Index in the edit's request and report; null if the removal was rejected.")
    errors: list[InvalidField] = Field(default_factory=list)
