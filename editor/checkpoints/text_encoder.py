"""A CLIP text encoder of a checkpoint: its dimensions, and its tensors by canonical name in any file layout."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from editor.checkpoints.key_mapping import (
    CANONICAL_PREFIX,
    FIRST_LAYER,
    LAYER_NAMES,
    POSITION_EMBEDDING,
    TOKEN_EMBEDDING,
    StoredTensor,
)
from editor.checkpoints.tensor_reader import DTYPES, TensorFile
from editor.errors import CheckpointError
from editor.io.digests import stream_digest, tensor_bytes

Activation = Literal["quick_gelu", "gelu"]
FIRST_ATTENTION = tuple(f"{FIRST_LAYER}{leaf}" for leaf in LAYER_NAMES if leaf.startswith(("layer_norm1", "self_attn")))
EDIT_INPUTS = (TOKEN_EMBEDDING, POSITION_EMBEDDING, *FIRST_ATTENTION)
"""Tensors that every edit reads: some rows of the token embedding, and the others as a whole."""
QUANTIZATION_SUFFIXES = (
    ".absmax", ".quant_map", ".nested_absmax", ".quant_state.bitsandbytes__nf4", ".quant_state.bitsandbytes__fp4", ".SCB",
    "_scale", "_scale_inv", ".scale_weight", ".weight_scale", ".input_scale", ".qweight", ".qzeros", ".scales",
)  # fmt: skip
"""Suffixes of the tensors that accompany a quantised weight: bitsandbytes, fp8 with scales, GPTQ and AWQ."""


@dataclass(frozen=True)
class TensorLocation:
    """The file that contains a tensor, and how the file stores it."""

    file: TensorFile
    stored: StoredTensor

    @property
    def dtype(self) -> str:
        """The dtype as safetensors names it, such as ``F16``."""
        return self.file.span(self.stored.name).dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the canonical tensor."""
        shape = self.file.span(self.stored.name).shape
        if self.stored.transposed:
            return shape[::-1]
        return shape if self.stored.qkv_index is None else (shape[0] // 3, *shape[1:])

    @property
    def row_range(self) -> tuple[int, int | None]:
        """The first row in the stored tensor and the row after the last; None for the end of the tensor."""
        index = self.stored.qkv_index
        return (0, None) if index is None else (index * self.shape[0], (index + 1) * self.shape[0])

    def read(self, out: Tensor | None = None) -> Tensor:
        """Read the canonical tensor, into ``out`` if the file stores it with the same dtype and layout."""
        if self.stored.transposed:
            return self.file.read(self.stored.name, *self.row_range).T.contiguous()
        return self.file.read(self.stored.name, *self.row_range, out=out)

    @property
    def size(self) -> int:
        """Size of the canonical tensor in bytes."""
        return self.file.span(self.stored.name).size // (1 if self.stored.qkv_index is None else 3)

    def read_chunks(self) -> Iterator[bytes | bytearray]:
        """Read the bytes of the canonical tensor in chunks."""
        if self.stored.transposed:
            yield bytes(tensor_bytes(self.read()))
        else:
            yield from self.file.read_chunks(self.stored.name, *self.row_range)


def digest_tensors(locations: Mapping[str, TensorLocation]) -> str:
    """Return the SHA-256 of canonical names, dtypes, shapes and bytes, which is the same in every file layout."""
    return stream_digest(chunk for name in sorted(locations) for chunk in digested_chunks(name, locations[name]))


def digested_chunks(name: str, location: TensorLocation) -> Iterator[bytes | bytearray]:
    """Yield what identifies a tensor."""
    yield repr((name, location.dtype, location.shape)).encode()
    yield from location.read_chunks()


@dataclass(frozen=True)
class TextEncoder:
    """A CLIP text encoder on disk. None of its tensors are in memory."""

    component: str
    """The pipeline's component: ``text_encoder`` or ``text_encoder_2``."""
    heads: int
    eps: float
    layers: int
    width: int
    activation: Activation
    locations: Mapping[str, TensorLocation] = field(repr=False)
    tokenizer_folder: Path | None = None
    """The folder of this encoder's tokenizer; None for CLIP's own."""
    config: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The contents of ``config.json``; empty for a single file."""

    def locate(self, canonical: str) -> TensorLocation:
        """Find a tensor. Raises CheckpointError if the encoder does not have it."""
        try:
            return self.locations[canonical]
        except KeyError:
            raise CheckpointError(
                f"The {self.component} has no tensor {canonical}.",
                field="model",
                remedy="Use an intact CLIP text encoder.",
            ) from None

    def stored_name(self, canonical: str) -> str:
        """Return the name of a tensor in its file; for a part of a fused tensor, the name of the fused tensor."""
        return self.locate(canonical).stored.name

    def file_of(self, canonical: str) -> Path:
        """Return the file that contains a tensor."""
        return self.locate(canonical).file.path

    @property
    def files(self) -> frozenset[Path]:
        """The files that contain the encoder's tensors."""
        return frozenset(location.file.path for location in self.locations.values())

    def shape(self, canonical: str) -> tuple[int, ...]:
        """Return the shape of a tensor, from the header."""
        return self.locate(canonical).shape

    def tensor(self, canonical: str) -> Tensor:
        """Read one tensor in the dtype of the file.

        Raises:
            CheckpointError: the tensor is missing, quantised or unreadable, or contains NaN or infinity.
        """
        return self.locate(canonical).read()

    def read_into(self, out: Tensor, canonical: str) -> None:
        """Read one tensor into an existing contiguous tensor of any dtype. Raises the errors of :meth:`tensor`."""
        read = self.locate(canonical).read(out)
        if read is not out:
            out.copy_(read)

    def read_rows(self, canonical: str, ids: Tensor) -> Tensor:
        """Read some rows of a matrix, ``(len(ids), width)``. Each distinct row is read once."""
        location = self.locate(canonical)
        if location.stored.transposed:
            return location.read()[ids]
        return location.file.read_rows(location.stored.name, ids, location.row_range[0])

    def prefetch_tensors(self, names: Iterable[str] = EDIT_INPUTS[1:]) -> None:
        """Some tensors will be read whole: where they are not in memory yet, they come while other work goes on."""
        for name in names:
            location = self.locate(name)
            location.file.prefetch_rows(location.stored.name, *location.row_range)

    def digest(self, names: Iterable[str]) -> str:
        """Return the SHA-256 of canonical names, dtypes, shapes and bytes, which is the same in every file layout."""
        return digest_tensors({name: self.locate(name) for name in names})

    @cached_property
    def edit_inputs_digest(self) -> str:
        """Digest of all tensors that a first-layer edit reads. Encoders with equal digests get the same update."""
        return self.digest(EDIT_INPUTS)

    @cached_property
    def whole_digest(self) -> str:
        """Digest of all tensors. Encoders with equal digests give a denoiser the same states."""
        return self.digest(self.locations)

    @property
    def context_length(self) -> int:
        """Maximum number of tokens in a prompt."""
        return self.shape(POSITION_EMBEDDING)[0]

    @property
    def vocabulary_size(self) -> int:
        """Number of tokens in the vocabulary."""
        return self.shape(TOKEN_EMBEDDING)[0]


def check_shapes(encoder: TextEncoder) -> None:
    """Check the shape of every tensor. Raises CheckpointError if one does not fit the encoder's dimensions."""
    width, mlp = encoder.width, encoder.shape(FIRST_LAYER + "mlp.fc1.bias")[0]
    shapes = {
        "fc1.weight": (mlp, width),
        "fc1.bias": (mlp,),
        "fc2.weight": (width, mlp),
        "proj.weight": (width, width),
        "token_embedding.weight": (encoder.vocabulary_size, width),
        "position_embedding.weight": (encoder.context_length, width),
    }
    for name, location in encoder.locations.items():
        if not name.startswith(CANONICAL_PREFIX):
            continue
        expected = next((shape for end, shape in shapes.items() if name.endswith(end)), (width,))
        stored = location.file.span(location.stored.name).shape
        if location.shape != expected or (location.stored.qkv_index is not None and stored[0] != 3 * expected[0]):
            raise CheckpointError(
                f"{location.stored.name} in {location.file.path} has shape {list(stored)}, "
                f"which does not fit an encoder of width {width}.",
                field="model",
                remedy="Use an intact CLIP text encoder.",
            )


def check_precision(encoder: TextEncoder) -> None:
    """Check that all tensors that an edit reads are floating point. Raises CheckpointError if one is quantised."""
    for name in EDIT_INPUTS:
        location = encoder.locate(name)
        stem = location.stored.name
        scales = [base + suffix for base in (stem.removesuffix(".weight"), stem) for suffix in QUANTIZATION_SUFFIXES]
        if location.dtype not in DTYPES or any(scale in location.file.layout.spans for scale in scales):
            raise CheckpointError(
                f"{stem} in {location.file.path} is quantised ({location.dtype}) and can't be edited.",
                field="model",
                remedy="Use the checkpoint in fp16, bf16 or fp32.",
            )
