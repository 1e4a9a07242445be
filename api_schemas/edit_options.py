"""`EditOptions`: how an edit is computed."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

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


def _check_names(names: list[Any]) -> list[Any]:
    """Check that each site is named once."""
    if len(set(names)) != len(names):
        raise field_error("sites", "must name each site once", "Send each name once.")
    return names


def _kind_of_sites(value: Any) -> str:
    """Return the member of the union that a value belongs to."""
    if isinstance(value, str):
        return "[word]"
    return "[names]" if isinstance(value, list) and any(isinstance(one, str) for one in value) else "[layers]"


SiteName = Literal["text_encoder", "cross_attention", "text_gate", "pooled_projection"]
DENOISER_SITES: tuple[SiteName, ...] = ("cross_attention", "text_gate", "pooled_projection")
"""Sites in the denoiser, through which text enters whatever text encoder is used."""
Layer = Annotated[int, Field(ge=0, lt=64)]
Sites = Annotated[
    Annotated[Literal["default", "auto", "all"], Tag("[word]")]
    | Annotated[
        Annotated[list[Layer], Field(min_length=1, max_length=8)], AfterValidator(_check_layer_order), Tag("[layers]")
    ]
    | Annotated[
        Annotated[list[SiteName], Field(min_length=1, max_length=4)], AfterValidator(_check_names), Tag("[names]")
    ],
    Discriminator(_kind_of_sites),
]


MethodName = Literal["default", "diff_quickfix", "uce", "oce", "double_projections", "speed"]
SUPPORTED_OPTIONS: Mapping[MethodName, frozenset[str]] = {
    "diff_quickfix": frozenset(),
    "uce": frozenset({"sites"}),
    "oce": frozenset({"sites"}),
    "double_projections": frozenset({"sites"}),
    "speed": frozenset({"sites", "pins"}),
}
"""Options that each published method can use. A list of layers is a value of `sites` that every method can use."""


def _include_denoiser(sites: Any) -> bool:
    """Return whether a value of `sites` includes any site of the denoiser."""
    return sites == "all" or bool(set(sites) & set(DENOISER_SITES))


def rename_preset(values: Any) -> Any:
    """Read requests, ledgers and reports of earlier versions, where `method` was `preset` and `diff_quickfix` was `paper`."""
    if not isinstance(values, dict) or "preset" not in values or "method" in values:
        return values
    preset = values["preset"]
    return {name: value for name, value in values.items() if name != "preset"} | {
        "method": "diff_quickfix" if preset == "paper" else preset
    }


class EditOptions(Request):
    """How the edit is computed."""

    method: MethodName = Field(
        default="default",
        description="`default`: the preserving solver. The others are published methods, for comparison, at the same sites and "
        "with the same prompts; `diff_quickfix` has the prompts and the site of its release.",
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
        default="default",
        description="The linear maps that are edited. `default`: the attention output of the first layer of the CLIP text "
        "encoders and, in models that read T5 or a language model (Stable Diffusion 3, FLUX.1, PixArt and others), the text "
        "gate. `auto`: the same with the layer that the trace of the concept identifies as causal, or the first layer if "
        "it is not separated from the others; the report gives the reason. A list of numbers: these layers of the text "
        "encoders alone, in ascending order. `all`: every site through which text enters the image, so that putting the "
        "original text encoder back does not undo the removal. A list of names chooses among these sites: `text_encoder` "
        "(the first layer), and in the denoiser `cross_attention`, `text_gate` and `pooled_projection`.",
        examples=["default", "auto", "all", [0], ["text_encoder", "cross_attention"]],
    )
    pins: list[Prompt] = Field(
        default=[],
        max_length=16,
        description="Prompts whose text embeddings must not change at all.",
        examples=[["a photograph of the town hall"]],
    )

    _read_preset = model_validator(mode="before")(rename_preset)

    @field_validator("preservation", "aim", "sites", "pins")
    @classmethod
    def _method_uses_it(cls, value: Any, info: ValidationInfo) -> Any:
        """Reject options that the method would ignore."""
        method, name = info.data.get("method", "default"), str(info.field_name)
        if method == "default" or name in SUPPORTED_OPTIONS[method] or value == cls.model_fields[name].default:
            return value
        if name == "sites" and not _include_denoiser(value):
            return value
        raise field_error(
            "method_option",
            "is not used by the method {method}",
            "Leave it out, or use the default method.",
            method=method,
        )

    @property
    def layers(self) -> list[int] | Literal["auto"]:
        """The text encoder layers to edit."""
        if self.sites == "auto":
            return "auto"
        if self.sites in ("default", "all") or "text_encoder" in self.sites:
            return [0]
        return [one for one in self.sites if isinstance(one, int)]

    @property
    def denoiser_sites(self) -> tuple[SiteName, ...]:
        """The sites of the denoiser to edit. Those of `default`, `auto` and `all` are edited if the model has them."""
        if self.sites == "all":
            return DENOISER_SITES
        if self.sites in ("default", "auto"):
            return () if self.method == "diff_quickfix" else ("text_gate",)
        return tuple(name for name in DENOISER_SITES if name in self.sites)
