"""`EditOptions`: how an edit is computed."""

import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag

from api_schemas.base import Prompt, Request, field_error


def _check_preservation(value: Any) -> Any:
    """Report one error instead of one per member of the union."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if value == "auto" or (number and math.isfinite(value) and value > 0):
        return value
    raise field_error("preservation", 'must be a number above 0, or "auto"', 'Leave it out, or send "auto".')


def _check_layer_order(layers: list[int]) -> list[int]:
    """Check that layers are ascending, because each is solved with the earlier ones edited."""
    if layers != sorted(set(layers)):
        raise field_error("sites", "must name each layer once, first to last", "Send them in order, such as [0, 1].")
    return layers


Layer = Annotated[int, Field(ge=0, lt=64)]
Sites = Annotated[
    Annotated[Literal["auto"], Tag("[auto]")]
    | Annotated[
        Annotated[list[Layer], Field(min_length=1, max_length=8)], AfterValidator(_check_layer_order), Tag("[list]")
    ],
    Discriminator(lambda value: "[auto]" if isinstance(value, str) else "[list]"),
]


class EditOptions(Request):
    """How the edit is computed."""

    preset: Literal["default", "paper"] = Field(
        default="default",
        description="`default`: the preserving solver. `paper`: the published procedure without changes, for comparison.",
    )
    preservation: Annotated[float | Literal["auto"], BeforeValidator(_check_preservation)] = Field(
        default="auto",
        description="Weight of the preservation term (> 0). Larger values preserve unrelated prompts better and erase less. "
        "`auto` searches for it on held-out prompts.",
    )
    aim: Literal["attention", "residual", "last_layer"] = Field(
        default="attention",
        description="Which activation is matched to that of the replacement's prompt: the edited layer's attention output "
        "(`attention`), the residual stream after it (`residual`), or the encoder's final hidden states (`last_layer`, "
        "slower, as it passes through all layers).",
    )
    sites: Sites = Field(
        default=[0],
        description="Text encoder layers whose attention output is edited, in ascending order. `auto` uses the layer that the "
        "trace of the concept identifies as causal, or the first layer if it is not separated from the others; the report "
        "gives the reason.",
        examples=[[0], "auto"],
    )
    pins: list[Prompt] = Field(
        default=[],
        max_length=16,
        description="Prompts whose text embeddings must not change at all.",
        examples=[["a photograph of the town hall"]],
    )
