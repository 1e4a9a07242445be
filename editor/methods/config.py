"""The settings of an edit."""

from dataclasses import dataclass, replace
from typing import Literal

from api_schemas.edits import EditOptions, MethodName
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
    spread: bool = True
    """Whether the edit of several removals is spread over more layers, if the one to edit is the first."""
    layer_choice: str = "the default"
    """The reason for the choice of layers."""
    pins: tuple[str, ...] = ()
    """Prompts whose encoder output must not change."""

    @property
    def for_later_layers(self) -> "MethodConfig":
        """The settings for the layers after the first edited one.

        By the default method they aim at the residual stream, which holds what earlier layers left undone and what they
        spoiled.
        """
        return replace(self, aim="residual") if (self.name, self.aim) == ("default", "attention") else self


DEFAULT_METHOD = MethodConfig()
SPREAD_LAYERS = 3
"""First layers over which the edit of several removals is spread. A layer corrects what those before it left, at less damage
than if one layer had to do it all; more than three were measured to bring nothing."""
MIN_SPREAD_REMOVALS, MAX_SPREAD_REMOVALS = 5, 50
"""Numbers of removals whose edit is spread. Fewer fit into one layer, and more would take long."""


def spread_layers(method: MethodConfig, removals: int, layers: int) -> MethodConfig:
    """Return the settings for a number of removals in an encoder with some layers, spread over more of them where it helps."""
    allowed = method.spread and method.name == "default" and method.layers == (0,)
    if not allowed or not MIN_SPREAD_REMOVALS <= removals <= MAX_SPREAD_REMOVALS:
        return method
    chosen = tuple(range(min(SPREAD_LAYERS, layers)))
    return replace(method, layers=chosen, layer_choice=f"{removals} removals are spread over {len(chosen)} layers")


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
