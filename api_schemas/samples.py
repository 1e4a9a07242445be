"""Sample images of a running validation, which are deleted when the job ends. The published ones are in `comparisons`."""

from typing import Literal

from pydantic import Field

from api_schemas.base import Resource
from api_schemas.previews import PreviewSide

MAX_SAMPLES = 4
"""Samples of a job that are listed: the newest ones."""


class Sample(Resource):
    """Small images of one prompt at one seed, by the base model and by the edit."""

    object: Literal["sample"] = "sample"
    number: int = Field(ge=1, description="1, 2, 3 … within a job; newer samples have higher numbers.")
    prompt: str
    seed: int
    before: str = Field(description="Path of the base model's image, as WebP with sides of at most 160 pixels.")
    after: str | None = Field(description="Path of the edited model's image; null until it is generated.")


def sample_path(edit_id: str, number: int, side: PreviewSide) -> str:
    """Return the path of an image, below the root of the API or of the pages about jobs."""
    return f"/{edit_id}/samples/{number}/{side}"
