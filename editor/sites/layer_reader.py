"""Read a text encoder layer by layer into the same memory, so that a forward pass needs one layer's weights at a time.

New memory for each layer would take several times as long as the reading: the kernel clears every page of it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from editor.checkpoints import TextEncoder
from editor.checkpoints.tensor_reader import DTYPES
from editor.sites.clip_attention import CLIPAttention
from editor.sites.clip_mlp import CLIPMLP

LAYER_PREFIX = "text_model.encoder.layers.{}."
NORMS = ("layer_norm1", "layer_norm2")
LINEAR_MAPS = (
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj", "mlp.fc1", "mlp.fc2",
)  # fmt: skip
MODULES = (*LINEAR_MAPS, *NORMS)


def fast_weight_dtype() -> torch.dtype:
    """Return bfloat16 if the CPU multiplies it natively, else float32."""
    return torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else torch.float32


@dataclass(frozen=True)
class CLIPLayer:
    """One layer of a CLIP text encoder."""

    attention: CLIPAttention
    out_proj: tuple[Tensor, Tensor]
    """Weight (d, d) and bias (d,)."""
    mlp: CLIPMLP


class LayerReader:
    """Reads layers of an encoder with float32 norms, and the weights of its linear maps in ``weight_dtype``."""

    def __init__(self, source: TextEncoder, weight_dtype: torch.dtype) -> None:
        self.source = source
        width, inner = source.width, source.shape(LAYER_PREFIX.format(0) + "mlp.fc1.weight")[0]
        self.qkv = _empty_map(3 * width, width, weight_dtype)
        self.out_proj = _empty_map(width, width, weight_dtype)
        self.fc1, self.fc2 = _empty_map(inner, width, weight_dtype), _empty_map(width, inner, weight_dtype)
        self.norms = [(torch.empty(width), torch.empty(width)) for _ in NORMS]
        self.stored, self.single = torch.empty(0), torch.empty(0)

    def read(self, layer: int) -> CLIPLayer:
        """Read a layer. It is valid until the next call.

        Raises:
            CheckpointError: a tensor is missing, quantised or unreadable, or contains NaN or infinity.
        """
        self._prefetch(layer + 1)
        projections = zip(*(part.chunk(3) for part in self.qkv), strict=True)
        for name, tensors in zip(MODULES, (*projections, self.out_proj, self.fc1, self.fc2, *self.norms), strict=True):
            for part, tensor in zip(("weight", "bias"), tensors, strict=True):
                self._fill(tensor, LAYER_PREFIX.format(layer) + f"{name}.{part}")
        source = self.source
        return CLIPLayer(
            CLIPAttention(source.heads, source.eps, self.norms[0], self.qkv),
            self.out_proj,
            CLIPMLP(source.activation, source.eps, self.norms[1], self.fc1, self.fc2),
        )

    def _prefetch(self, layer: int) -> None:
        """Ask the kernel to fetch a layer from the disk while other work goes on."""
        if layer < self.source.layers:
            self.source.prefetch_tensors(LAYER_PREFIX.format(layer) + f"{name}.weight" for name in LINEAR_MAPS)

    def _fill(self, target: Tensor, name: str) -> None:
        """Read a tensor, by way of the dtype of the file and of float32 where these differ from the target's."""
        location = self.source.locate(name)
        stored = DTYPES.get(location.dtype, target.dtype)
        if stored == target.dtype or location.stored.transposed:
            self.source.read_into(target, name)
            return
        self.stored = _enlarge(self.stored, target, stored)
        read = location.read(self.stored[: target.numel()].view(target.shape))
        if torch.float32 not in (target.dtype, stored):  # torch converts between 16-bit dtypes slowly
            self.single = _enlarge(self.single, target, torch.float32)
            read = self.single[: target.numel()].view(target.shape).copy_(read)
        target.copy_(read)


def _empty_map(rows: int, columns: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return memory for a weight and a bias."""
    return torch.empty(rows, columns, dtype=dtype), torch.empty(rows, dtype=dtype)


def _enlarge(memory: Tensor, target: Tensor, dtype: torch.dtype) -> Tensor:
    """Return ``memory`` if it has the dtype and is large enough for ``target``, else new memory."""
    if memory.dtype == dtype and memory.numel() >= target.numel():
        return memory
    return torch.empty(target.numel(), dtype=dtype)
