"""The settings of an edit."""

from dataclasses import dataclass
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
    layer_choice: str = "the default"
    """The reason for the choice of layers."""
    pins: tuple[str, ...] = ()
    """Prompts whose encoder output must not change."""


DEFAULT_METHOD = MethodConfig()


def method_from_options(options: EditOptions, layers: tuple[int, ...], layer_choice: str) -> MethodConfig:
    """Return the settings of a request."""
    return MethodConfig(
        name=options.method,
        preservation=options.preservation,
        aim=options.aim,
        layers=layers,
        layer_choice=layer_choice,
        pins=tuple(options.pins),
    )
