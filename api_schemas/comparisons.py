"""Images of a validation before and after the edit, with the judge's scores: the index of `comparison.zip`."""

from typing import Literal

from pydantic import Field

from api_schemas.base import ReportModel
from api_schemas.judging import GroupName
from api_schemas.packed_images import PackedImage

COMPARISON_FILE, COMPARISON_IMAGES = "comparison.json", "comparison.zip"
"""Names of the published files: the index, and the images, which are stored in the ZIP file without compression."""


class ComparedImage(PackedImage):
    """An image in `comparison.zip`, and what the judge recognised in it."""

    recognised: str = Field(description="The name that the judge recognised.")
    score: float = Field(description="Cosine similarity of the image and what is expected, by the judge.")


class ImageComparison(ReportModel):
    """One prompt at one seed, before and after the edit."""

    group: GroupName
    removal: int | None = Field(description="Index of the removal; None if the group belongs to all.")
    prompt: str
    seed: int
    expected: str = Field(description="What the judge looks for.")
    before: ComparedImage
    after: ComparedImage
    change: float = Field(
        description="Mean absolute difference of the pixels: 0 for equal images, 1 for black and white."
    )


class Comparison(ReportModel):
    """Images of a validation, in the order of the groups."""

    object: Literal["comparison"] = "comparison"
    pairs: list[ImageComparison]
    omitted: int = Field(description="Number of pairs that were generated but not published, because of their size.")
