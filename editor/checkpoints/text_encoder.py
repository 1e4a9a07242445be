"""A CLIP text encoder inside a checkpoint: its geometry, and its tensors by canonical name wherever they are kept."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from editor.checkpoints.key_mapping import FIRST_LAYER, LAYER_NAMES, POSITIONS, PREFIX, TOKENS, StoredTensor
from editor.checkpoints.tensor_reader import DTYPES, TensorFile
from editor.errors import CheckpointError
from editor.io.digests import stream_digest, tensor_bytes

Activation = Literal["quick_gelu", "gelu"]
FIRST_ATTENTION = tuple(f"{FIRST_LAYER}{leaf}" for leaf in LAYER_NAMES if leaf.startswith(("layer_norm1", "self_attn")))
EDIT_INPUTS = (TOKENS, POSITIONS, *FIRST_ATTENTION)
"""What any edit reads: rows of the first of them, the others whole."""
QUANTIZATION_SUFFIXES = (
    ".absmax", ".quant_map", ".nested_absmax", ".quant_state.bitsandbytes__nf4", ".quant_state.bitsandbytes__fp4", ".SCB",
    "_scale", "_scale_inv", ".scale_weight", ".weight_scale", ".input_scale", ".qweight", ".qzeros", ".scales",
)  # fmt: skip
"""Endings of tensors that stand beside a quantised weight: bitsandbytes, fp8 with scales, GPTQ and AWQ."""


@dataclass(frozen=True)
class TensorLocation:
    """Where a tensor is."""

    file: TensorFile
    stored: StoredTensor

    @property
    def dtype(self) -> str:
        """In the format's words."""
        return self.file.span(self.stored.name).dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the canonical tensor."""
        shape = self.file.span(self.stored.name).shape
        if self.stored.transposed:
            return shape[::-1]
        return shape if self.stored.third is None else (shape[0] // 3, *shape[1:])

    @property
    def rows(self) -> tuple[int, int | None]:
        """First row in the stored tensor, and the one after the last; None for all."""
        third = self.stored.third
        return (0, None) if third is None else (third * self.shape[0], (third + 1) * self.shape[0])

    def read(self, out: Tensor | None = None) -> Tensor:
        """The canonical tensor; in ``out``, where the file has it as that lies in memory."""
        if self.stored.transposed:
            return self.file.read(self.stored.name, *self.rows).T.contiguous()
        return self.file.read(self.stored.name, *self.rows, out=out)

    @property
    def size(self) -> int:
        """Bytes of the canonical tensor."""
        return self.file.span(self.stored.name).size // (1 if self.stored.third is None else 3)

    def pieces(self) -> Iterator[bytes | bytearray]:
        """The canonical tensor's bytes, a piece at a time."""
        if self.stored.transposed:
            yield bytes(tensor_bytes(self.read()))
        else:
            yield from self.file.pieces(self.stored.name, *self.rows)


@dataclass(frozen=True)
class TextEncoder:
    """A CLIP text encoder on disk. Nothing of it is in memory."""

    component: str
    """The pipeline's component: ``text_encoder`` or ``text_encoder_2``."""
    heads: int
    eps: float
    layers: int
    width: int
    activation: Activation
    places: Mapping[str, TensorLocation] = field(repr=False)
    tokenizer_folder: Path | None = None
    """Where the checkpoint keeps this encoder's tokenizer; None: CLIP's own."""
    config: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The folder's configuration; empty for a single file."""

    def place(self, canonical: str) -> TensorLocation:
        """Where a tensor is. Raises CheckpointError: there is no such tensor."""
        try:
            return self.places[canonical]
        except KeyError:
            raise CheckpointError(f"The {self.component} has no tensor {canonical}.", field="model") from None

    def stored_name(self, canonical: str) -> str:
        """The file's name for a tensor; that of the fused tensor for a part of one."""
        return self.place(canonical).stored.name

    def file_of(self, canonical: str) -> Path:
        """The file that holds a tensor."""
        return self.place(canonical).file.path

    def shape(self, canonical: str) -> tuple[int, ...]:
        """Of a tensor; from the header."""
        return self.place(canonical).shape

    def tensor(self, canonical: str) -> Tensor:
        """Read one tensor in the dtype of the file.

        Raises:
            CheckpointError: it is missing, quantised, unreadable, or holds NaN or infinity.
        """
        return self.place(canonical).read()

    def read_into(self, out: Tensor, canonical: str) -> None:
        """Read one tensor into memory that is there already, contiguous and of any dtype. Raises as :meth:`tensor`."""
        read = self.place(canonical).read(out)
        if read is not out:
            out.copy_(read)

    def rows(self, canonical: str, ids: Tensor) -> Tensor:
        """Read some rows of a matrix: ``(len(ids), width)``; each distinct row once."""
        place = self.place(canonical)
        if place.stored.transposed:
            return place.read()[ids]
        return place.file.rows(place.stored.name, ids, place.rows[0])

    def expect(self, names: Iterable[str] = EDIT_INPUTS[1:]) -> None:
        """Some tensors will be read whole: where they are not in memory yet, they come while other work goes on."""
        for name in names:
            place = self.place(name)
            place.file.expect(place.stored.name, *place.rows)

    def digest(self, names: Iterable[str]) -> str:
        """sha256 over canonical names, dtypes, shapes and bytes: the same for the same weights in any layout."""
        return stream_digest(chunk for name in sorted(names) for chunk in self._digested_chunks(name))

    def _digested_chunks(self, name: str) -> Iterator[bytes | bytearray]:
        location = self.place(name)
        yield repr((name, location.dtype, location.shape)).encode()
        yield from location.pieces()

    @cached_property
    def needed_digest(self) -> str:
        """Of everything that a first-layer edit is computed from: the same where its update is."""
        return self.digest(EDIT_INPUTS)

    @property
    def context(self) -> int:
        """Tokens that the encoder reads."""
        return self.shape(POSITIONS)[0]

    @property
    def vocabulary(self) -> int:
        """Tokens that it knows."""
        return self.shape(TOKENS)[0]


def check_shapes(encoder: TextEncoder) -> None:
    """Every tensor has the shape that the geometry means. Raises CheckpointError: one has not."""
    width, mlp = encoder.width, encoder.shape(FIRST_LAYER + "mlp.fc1.bias")[0]
    shapes = {
        "fc1.weight": (mlp, width),
        "fc1.bias": (mlp,),
        "fc2.weight": (width, mlp),
        "proj.weight": (width, width),
        "token_embedding.weight": (encoder.vocabulary, width),
        "position_embedding.weight": (encoder.context, width),
    }
    for name, place in encoder.places.items():
        if not name.startswith(PREFIX):
            continue
        expected = next((shape for end, shape in shapes.items() if name.endswith(end)), (width,))
        stored = place.file.span(place.stored.name).shape
        if place.shape != expected or (place.stored.third is not None and stored[0] != 3 * expected[0]):
            raise CheckpointError(
                f"{place.stored.name} in {place.file.path} is {list(stored)}, which does not fit an encoder of width {width}.",
                field="model",
                remedy="Use an intact CLIP text encoder.",
            )


def check_precision(encoder: TextEncoder) -> None:
    """What every edit reads is floating point. Raises CheckpointError: some of it is quantised."""
    for name in EDIT_INPUTS:
        place = encoder.place(name)
        stem = place.stored.name
        scales = [base + suffix for base in (stem.removesuffix(".weight"), stem) for suffix in QUANTIZATION_SUFFIXES]
        if place.dtype not in DTYPES or any(scale in place.file.layout.spans for scale in scales):
            raise CheckpointError(
                f"{stem} in {place.file.path} is quantised ({place.dtype}) and can't be edited.",
                field="model",
                remedy="Use the checkpoint in fp16, bf16 or fp32.",
            )
