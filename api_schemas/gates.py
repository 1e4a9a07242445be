"""Gates: what must be measured for an edit to pass, fixed before anything is drawn."""

import hashlib
import json
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from api_schemas.base import Request

Measure = Literal[
    "target_accuracy",
    "generality_accuracy",
    "neighbour_drop",
    "retain_object_drop",
    "retain_style_drop",
    "retain_similarity",
]
Comparator = Literal["<=", ">="]
PublishPolicy = Literal["always", "only_if_passed"]
PolicyName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]


class Gate(Request):
    """One measure, and where it must lie."""

    measure: Measure = Field(
        description="`target_accuracy`, `generality_accuracy`: the removed concept is recognised in this share of images, in "
        "wordings that the edit saw or did not see. `neighbour_drop`, `retain_object_drop`, `retain_style_drop`: how far "
        "accuracy falls on what must stay. `retain_similarity`: SSIM of unrelated images before and after.",
        examples=["target_accuracy"],
    )
    comparator: Comparator = Field(default="<=", description="On which side of the threshold the measure must lie.")
    threshold: float = Field(ge=-1, le=1, examples=[0.05])
    minimum_n: int = Field(default=1, ge=1, le=10_000, description="With fewer prompts the gate is inconclusive.")


class Policy(Request):
    """Gates that an organisation goes by, under a name."""

    gates: list[Gate] = Field(min_length=1, max_length=20)
    confidence: float = Field(default=0.95, ge=0.5, lt=1, description="One less the chance of a wrong verdict.")
    publish_policy: PublishPolicy = Field(
        default="always", description="`only_if_passed`: weights are published only with the verdict `passed`."
    )

    def digest(self) -> str:
        """sha256 over the canonical JSON."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()
