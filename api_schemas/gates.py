"""Gates: thresholds that an edit must meet, fixed before any image is generated."""

import hashlib
import json
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from api_schemas.base import Request
from api_schemas.kinds import ConceptKind

Measure = Literal[
    "target_accuracy",
    "generality_accuracy",
    "neighbour_drop",
    "retain_object_drop",
    "retain_style_drop",
    "retain_similarity",
    "destination_drop",
    "styled_object_drop",
    "other_removed_accuracy",
]
Comparator = Literal["<=", ">="]
PublishPolicy = Literal["always", "only_if_passed"]
PolicyName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]


class Gate(Request):
    """A measure and the threshold it must meet."""

    measure: Measure = Field(
        description="`target_accuracy`, `generality_accuracy`: share of images in which the removed concept is "
        "recognised, with prompt wordings that the edit used or did not use. `neighbour_drop`, "
        "`retain_object_drop`, `retain_style_drop`: drop in accuracy on concepts to preserve. "
        "`retain_similarity`: SSIM of unrelated images before and after. `destination_drop`: accuracy on the replacement in "
        "the base model's images of the replacement's own prompts, minus that in the edited model's images of the concept's "
        "prompts. `styled_object_drop`: the same for the object in prompts that name a removed style. "
        "`other_removed_accuracy`: share of a concept's images in which another removed concept is recognised.",
        examples=["target_accuracy"],
    )
    comparator: Comparator = Field(default="<=", description="The side of the threshold on which the measure must be.")
    threshold: float = Field(ge=-1, le=1, examples=[0.05])
    minimum_n: int = Field(default=1, ge=1, le=10_000, description="With fewer prompts the gate is inconclusive.")
    kind: ConceptKind | None = Field(
        default=None,
        description="Kind of concept whose removal this gate decides, in place of the gates of the measure without a kind.",
    )


class Policy(Request):
    """A named set of gates."""

    gates: list[Gate] = Field(min_length=1, max_length=20)
    confidence: float = Field(default=0.95, ge=0.5, lt=1, description="Confidence level of the verdict.")
    publish_policy: PublishPolicy = Field(
        default="always", description="`only_if_passed`: weights are published only if the verdict is `passed`."
    )

    def digest(self) -> str:
        """Return the SHA-256 over the canonical JSON without nulls."""
        canonical = json.dumps(self.model_dump(mode="json", exclude_none=True), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()
