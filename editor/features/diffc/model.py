"""The Diff-C network: batch norm without parameters, convolutions, global average pooling, a linear layer."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from editor.errors import FeatureError
from editor.io.atomic import write_bytes

Preset = Literal["light", "revelio"]
WEIGHTS_FILE, CONFIG_FILE = "model.safetensors", "config.json"


@dataclass(frozen=True)
class Convolution:
    """A convolutional layer with ``width`` output channels."""

    width: int
    kernel: int
    stride: int


PRESETS: dict[Preset, tuple[Convolution, ...]] = {
    "light": (Convolution(64, 1, 1), Convolution(128, 3, 2)),
    "revelio": (Convolution(1024, 3, 1), *(Convolution(1024, 3, 2),) * 3),
}
"""``revelio`` is for maps of 1280 x 16 x 16 and larger (40 M parameters), ``light`` for small maps (0.1 M)."""


class DiffcConfig(BaseModel):
    """Configuration of a classifier: its input and its classes."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    module: str
    """Module of the backbone, named as in ``capture``."""
    timestep: int
    channels: int
    classes: tuple[str, ...]
    preset: Preset = "light"
    dropout: float = 0.0


class DiffusionClassifier(nn.Module):
    """A classifier of maps ``(b, channels, h, w)``, with logits ``(b, classes)``."""

    def __init__(self, config: DiffcConfig) -> None:
        super().__init__()
        self.config = config
        layers: list[nn.Module] = [nn.BatchNorm2d(config.channels, affine=False)]
        width = config.channels
        for convolution in PRESETS[config.preset]:
            layers += conv_block(width, convolution, config.dropout)
            width = convolution.width
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(config.dropout), nn.Linear(width, len(config.classes))
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Return the logits, in the current mode (training or evaluation)."""
        logits: Tensor = self.head(self.features(maps))
        return logits

    @torch.no_grad()
    def logits(self, maps: Tensor) -> Tensor:
        """Return the logits ``(b, classes)`` in evaluation mode. The module stays in evaluation mode."""
        logits: Tensor = self.eval()(maps.to(next(self.parameters())))
        return logits

    def save(self, folder: Path, half: bool = False) -> None:
        """Write ``config.json`` and ``model.safetensors``, the weights in float16 if ``half``."""
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        if half:
            tensors = {name: t.half() if t.is_floating_point() else t for name, t in tensors.items()}
        write_bytes(folder / WEIGHTS_FILE, save(tensors, metadata={"format": "pt"}))
        write_bytes(folder / CONFIG_FILE, (self.config.model_dump_json(indent=1) + "\n").encode())


def conv_block(width: int, convolution: Convolution, dropout: float) -> list[nn.Module]:
    """Return convolution, batch norm, ReLU and channel dropout."""
    padding = convolution.kernel // 2
    return [
        nn.Conv2d(width, convolution.width, convolution.kernel, convolution.stride, padding),
        nn.BatchNorm2d(convolution.width),
        nn.ReLU(),
        nn.Dropout2d(dropout),
    ]


def load_diffc(folder: Path) -> DiffusionClassifier:
    """Load a saved classifier in float32, in evaluation mode.

    Raises:
        FeatureError: files are missing or do not belong together.
    """
    try:
        model = DiffusionClassifier(DiffcConfig(**json.loads((folder / CONFIG_FILE).read_bytes())))
        model.load_state_dict(load_file(folder / WEIGHTS_FILE))
    except (OSError, ValueError, TypeError, ValidationError, SafetensorError, RuntimeError) as error:
        raise FeatureError(
            f"{folder} does not contain a readable Diff-C classifier ({type(error).__name__}).",
            field="folder",
            remedy=f"Name a folder with {CONFIG_FILE} and {WEIGHTS_FILE} of one classifier.",
        ) from error
    return model.eval()
