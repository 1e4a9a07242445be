"""The settings of an edit."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from api_schemas.edits import EditOptions, MethodName
from editor.prompts import ResolvedRemoval
from editor.sites.key_value_pairs import Aim

Preservation = float | Literal["auto"]


@dataclass(frozen=True)
class MethodConfig:
    """The settings of one edit. The defaults were chosen by measurement; see the results page."""

    name: MethodName = "default"
    """Methods other than the default one ignore the settings that a request for them may not have."""
    preservation: Preservation = "auto"
    """Weight of the retain prompts; ``auto`` searches for it on held-out prompts."""
    aim: Aim = "attention"
    """The activation that is matched at aligned positions: the attention's output, the residual stream after it, or the
    encoder's final states."""
    layers: tuple[int, ...] = (0,)
    """Layers to edit, in ascending order; each is solved with the earlier ones edited."""
    edits_mlps: bool = False
    """Whether the MLPs of the layers are edited too."""
    spread: bool = True
    """Whether the edit of a style or of several removals is spread over more layers, if the one to edit is the first."""
    layer_choice: str = "the default"
    """The reason for the choice of layers."""
    pins: tuple[str, ...] = ()
    """Prompts whose encoder output must not change."""

    @property
    def for_later_maps(self) -> "MethodConfig":
        """The settings for the maps after the first edited one.

        By the default method they aim at the residual stream, which holds what earlier layers left undone and what they
        spoiled.
        """
        return replace(self, aim="residual") if (self.name, self.aim) == ("default", "attention") else self


DEFAULT_METHOD = MethodConfig()
SPREAD_LAYERS = 3
"""First layers over which the edit of a style or of several removals is spread. A layer corrects what those before it left, at
less damage than if one layer had to do it all; more than three were measured to bring nothing."""
MIN_SPREAD_REMOVALS, MAX_SPREAD_REMOVALS = 5, 50
"""Numbers of removals whose edit is spread. Fewer objects fit into one layer, and more removals would take long."""


def spread_layers(method: MethodConfig, removals: Sequence[ResolvedRemoval], layers: int) -> MethodConfig:
    """Return the settings for some removals in an encoder with some layers, spread over more of them where it helps.

    A style is removed from prompts about every object, which is as much as the removal of several objects.
    """
    has_style = any(removal.concept.kind == "style" for removal in removals)
    allowed = method.spread and method.name == "default" and method.layers == (0,)
    enough = has_style or len(removals) >= MIN_SPREAD_REMOVALS
    if not (allowed and enough and len(removals) <= MAX_SPREAD_REMOVALS):
        return method
    chosen = tuple(range(min(SPREAD_LAYERS, layers)))
    edits_mlps = method.aim != "last_layer"  # This aim is defined for attention outputs only.
    spread = "a style is" if has_style else f"{len(removals)} removals are"
    where = f"{len(chosen)} layers{' and their MLPs' if edits_mlps else ''}"
    return replace(method, layers=chosen, edits_mlps=edits_mlps, layer_choice=f"{spread} spread over {where}")


def method_from_options(options: EditOptions, layers: tuple[int, ...], layer_choice: str) -> MethodConfig:
    """Return the settings of a request."""
    return MethodConfig(
        name=options.method,
        preservation=options.preservation,
        aim=options.aim,
        layers=layers,
        spread=options.sites in ("default", "all") or "text_encoder" in options.sites,
        layer_choice=layer_choice,
        pins=tuple(options.pins),
    )
