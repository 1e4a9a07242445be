"""How an edit is computed."""

from dataclasses import dataclass
from typing import Literal

from api_schemas.edits import EditOptions

Preset = Literal["default", "paper"]
Aim = Literal["attention", "residual", "last_layer"]
Preservation = float | Literal["auto"]


@dataclass(frozen=True)
class Method:
    """The choices of one edit; the defaults were chosen by measurement (docs/reference/results.md)."""

    preset: Preset = "default"
    """``paper`` follows the released procedure to the letter; nothing else applies to it."""
    preservation: Preservation = "auto"
    """Weight of the retain prompts; ``auto`` searches for it on held-out prompts."""
    aim: Aim = "attention"
    """What becomes equal at an aligned position: the attention's output, the residual stream after it, or the last state."""
    layers: tuple[int, ...] = (0,)
    """Layers to edit, first to last; each is solved with the earlier ones edited."""
    layer_choice: str = "the default"
    """Why these."""
    pins: tuple[str, ...] = ()
    """Prompts whose encoder output stays as it is."""


DEFAULT = Method()


def method_of(options: EditOptions, layers: tuple[int, ...], why: str) -> Method:
    """The method that a request asks for."""
    return Method(
        preset=options.preset,
        preservation=options.preservation,
        aim=options.aim,
        layers=layers,
        pins=tuple(options.pins),
    )
