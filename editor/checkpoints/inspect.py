"""Describe a model's files from their headers alone, without reading a tensor."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from editor.checkpoints.base_model import Checkpoint
from editor.checkpoints.key_mapping import OUT_PROJ, Family
from editor.checkpoints.open import open_checkpoint
from editor.checkpoints.safe_paths import check_inside, weight_files
from editor.checkpoints.safetensors_header import FileLayout, TensorSpan, read_layout
from editor.checkpoints.text_encoder import EDIT_INPUTS, TextEncoder
from editor.checkpoints.unedited_encoders import UneditedEncoder
from editor.errors import CheckpointError

DELTA_METADATA_KEY = "expunge"
"""The only metadata entry of a delta, a JSON object. safetensors writes several entries in random order, but the same edit must
give the same bytes."""


class InspectionPart(BaseModel):
    """Base class of the models in this module."""

    model_config = ConfigDict(frozen=True)


class FileFacts(InspectionPart):
    """A safetensors file."""

    name: str = Field(description="Path inside the model.")
    size: int = Field(description="Bytes.")
    tensors: int
    dtypes: dict[str, int] = Field(description="Bytes by dtype.")
    metadata: dict[str, Any] = Field(description="The header's metadata, with Expunge's own entry decoded.")


class EncoderFacts(InspectionPart):
    """A CLIP text encoder, and what an edit reads and changes in it."""

    component: str
    width: int
    heads: int
    layers: int
    context: int
    vocabulary: int
    activation: str
    dtype: str = Field(description="Dtype of the tensor that an edit changes.")
    file: str = Field(description="The file that an edit changes.")
    edited: str = Field(description="Name of that tensor in the file.")
    edited_bytes: int
    read_whole: dict[str, int] = Field(description="Size in bytes of each tensor that an edit reads as a whole.")
    read_by_row: int = Field(description="Bytes read for each distinct token of the prompts.")


class GateFacts(InspectionPart):
    """The map through which a denoiser reads its sequence of text, which an edit changes."""

    component: str
    shape: tuple[int, ...]
    dtype: str
    file: str = Field(description="The file that an edit changes.")
    edited: str = Field(description="Name of the tensor in the file.")
    edited_bytes: int


class UneditedEncoderFacts(InspectionPart):
    """A text encoder that the edit does not change."""

    component: str
    share: float = Field(description="Its share of the tokens that condition the image.")
    sentence: str


class Inspection(InspectionPart):
    """The output of ``expunge inspect --json``."""

    path: str
    family: Family | None
    refused: str | None = Field(description="Why the model can't be edited; null if it can.")
    encoders: list[EncoderFacts]
    text_gate: GateFacts | None = Field(description="Null for a UNet, and for a model without its denoiser.")
    second_ways: list[UneditedEncoderFacts]
    unedited_variants: list[str] = Field(
        description="Other weights of the text encoders, which an edit does not change."
    )
    files: list[FileFacts]


def inspect_weights(path: Path) -> Inspection:
    """Describe a safetensors file or a model folder.

    Raises:
        CheckpointError: the path does not exist, has no safetensors file, or has a damaged one.
    """
    if not path.exists():
        raise CheckpointError(
            f"{path} does not exist.", field="path", remedy="Pass a safetensors file or a model folder."
        )
    files = [file_facts(name, check_inside(path, file)) for name, file in weight_files(path).items()]
    if not files:
        raise CheckpointError(
            f"{path} contains no safetensors file.",
            field="path",
            remedy="Save the model as safetensors; pickle files are never read.",
        )
    try:
        checkpoint, refused = open_checkpoint(path), None
    except CheckpointError as error:
        checkpoint, refused = None, error.message
    return Inspection(
        path=str(path),
        family=checkpoint.family if checkpoint else None,
        refused=refused,
        encoders=[encoder_facts(checkpoint, encoder) for encoder in checkpoint.encoders] if checkpoint else [],
        text_gate=gate_facts(checkpoint) if checkpoint else None,
        second_ways=[unedited_encoder_facts(one) for one in checkpoint.unedited_encoders] if checkpoint else [],
        unedited_variants=list(checkpoint.unedited_variants) if checkpoint else [],
        files=files,
    )


def file_facts(name: str, path: Path) -> FileFacts:
    """Describe a safetensors file."""
    layout = read_layout(path)
    return FileFacts(
        name=name,
        size=path.stat().st_size,
        tensors=len(layout.spans),
        dtypes=bytes_by_dtype(layout.spans),
        metadata=decode_metadata(layout),
    )


def bytes_by_dtype(spans: Mapping[str, TensorSpan]) -> dict[str, int]:
    """Return the total size of the tensors of each dtype, the largest first."""
    total: dict[str, int] = {}
    for span in spans.values():
        total[span.dtype] = total.get(span.dtype, 0) + span.size
    return dict(sorted(total.items(), key=lambda pair: -pair[1]))


def decode_metadata(layout: FileLayout) -> dict[str, Any]:
    """Return the metadata, with Expunge's own entry decoded to an object."""
    try:
        return layout.metadata | {DELTA_METADATA_KEY: json.loads(layout.metadata[DELTA_METADATA_KEY])}
    except (KeyError, ValueError):
        return dict(layout.metadata)


def unedited_encoder_facts(encoder: UneditedEncoder) -> UneditedEncoderFacts:
    """Describe a text encoder that the edit does not change."""
    return UneditedEncoderFacts(component=encoder.component, share=encoder.share, sentence=encoder.limitation)


def gate_facts(checkpoint: Checkpoint) -> GateFacts | None:
    """Describe the text gate; None if the model has none."""
    denoiser = checkpoint.denoiser
    name = denoiser.text_gate if denoiser else None
    if denoiser is None or name is None:
        return None
    location = denoiser.locate(name)
    return GateFacts(
        component=denoiser.component,
        shape=denoiser.shape(name),
        dtype=location.dtype,
        file=file_name(checkpoint, denoiser.file_of(name)),
        edited=denoiser.stored_name(name),
        edited_bytes=location.size,
    )


def file_name(checkpoint: Checkpoint, file: Path) -> str:
    """Return a file's path inside the model."""
    return file.name if file == checkpoint.path else file.relative_to(checkpoint.path).as_posix()


def encoder_facts(checkpoint: Checkpoint, encoder: TextEncoder) -> EncoderFacts:
    """Describe a CLIP text encoder."""
    name = OUT_PROJ.format(layer=0)
    tokens, *whole = EDIT_INPUTS
    return EncoderFacts(
        component=encoder.component,
        width=encoder.width,
        heads=encoder.heads,
        layers=encoder.layers,
        context=encoder.context_length,
        vocabulary=encoder.vocabulary_size,
        activation=encoder.activation,
        dtype=encoder.locate(name).dtype,
        file=file_name(checkpoint, encoder.file_of(name)),
        edited=encoder.stored_name(name),
        edited_bytes=encoder.locate(name).size,
        read_whole={canonical: encoder.locate(canonical).size for canonical in whole},
        read_by_row=encoder.locate(tokens).size // encoder.vocabulary_size,
    )
