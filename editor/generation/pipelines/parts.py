"""Find denoiser, autoencoder and T5 in safetensors files by the names of their tensors."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor

from editor.checkpoints.tensor_reader import TensorFile

Kind = Literal["denoiser", "vae", "t5"]
MARKERS: tuple[tuple[Kind, tuple[str, ...], tuple[str, ...]], ...] = (
    (
        "denoiser",
        ("model.diffusion_model.", ""),
        (
            "input_blocks.0.0.weight",
            "joint_blocks.0.context_block.adaLN_modulation.1.bias",
            "double_blocks.0.img_attn.norm.key_norm.scale",
            "mid_block.resnets.0.conv1.weight",
            "transformer_blocks.0.attn.to_q.weight",
        ),
    ),
    ("vae", ("first_stage_model.", "vae.", ""), ("decoder.conv_in.weight",)),
    (
        "t5",
        ("text_encoders.t5xxl.transformer.", "text_encoders.t5xxl.", ""),
        ("encoder.block.0.layer.0.SelfAttention.q.weight",),
    ),
)
"""For each kind of component, its prefixes in single files and a tensor that identifies it: the original names of Stable
Diffusion, SD3 and FLUX, and those of diffusers."""


@dataclass(frozen=True)
class Part:
    """A component in a safetensors file."""

    kind: Kind
    file: TensorFile
    prefix: str

    @property
    def path(self) -> Path:
        """The file."""
        return self.file.path

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each tensor, by its name without the prefix."""
        names = [name for name in self.file.layout.spans if name.startswith(self.prefix)]
        return {name.removeprefix(self.prefix): self.file.span(name).shape for name in names}

    def read(self) -> dict[str, Tensor]:
        """Map the tensors into memory, by their names without the prefix."""
        from safetensors import safe_open

        with safe_open(self.path, framework="pt") as file:
            return {name: file.get_tensor(self.prefix + name) for name in self.shapes}


def find_parts(file: TensorFile) -> Iterator[Part]:
    """Find the components in a file, except CLIP text encoders. A single-file checkpoint contains several."""
    for kind, prefixes, markers in MARKERS:
        for prefix in prefixes:
            if any(prefix + marker in file.layout.spans for marker in markers):
                yield Part(kind, file, prefix)
                break
