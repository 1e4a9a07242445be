"""What is in a model's files, from their headers alone: no tensor is read."""

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

EXPUNGE_ENTRY = "expunge"
"""Our deltas' metadata entry, a JSON object."""


class InspectionPart(BaseModel):
    """Base of an inspection's parts."""

    model_config = ConfigDict(frozen=True)


class FileFacts(InspectionPart):
    """A safetensors file."""

    name: str = Field(description="Path inside the model.")
    size: int = Field(description="Bytes.")
    tensors: int
    dtypes: dict[str, int] = Field(description="Bytes by dtype.")
    metadata: dict[str, Any] = Field(description="The header's metadata; what Expunge wrote there is unpacked.")


class EncoderFacts(InspectionPart):
    """A CLIP text encoder, as far as an edit is concerned."""

    component: str
    width: int
    heads: int
    layers: int
    context: int
    vocabulary: int
    activation: str
    dtype: str = Field(description="Of the tensor that an edit changes.")
    file: str = Field(description="The file that an edit changes.")
    edited: str = Field(description="That tensor, as the file calls it.")
    edited_bytes: int
    read_whole: dict[str, int] = Field(description="Tensors that an edit reads whole, and how many bytes of them.")
    read_by_row: int = Field(description="Bytes read for each distinct token of the prompts.")


class UneditedEncoderFacts(InspectionPart):
    """An encoder beside CLIP that stays as it is."""

    component: str
    share: float = Field(description="Of the tokens that condition the image.")
    sentence: str


class Inspection(InspectionPart):
    """What ``expunge inspect --json`` prints."""

    path: str
    family: Family | None
    refused: str | None = Field(description="Why it can't be edited, where it can't.")
    encoders: list[EncoderFacts]
    second_ways: list[UneditedEncoderFacts]
    files: list[FileFacts]


def inspect(path: Path) -> Inspection:
    """Look at a file or a folder.

    Raises:
        CheckpointError: it is missing, has no safetensors file, or one that is damaged.
    """
    if not path.exists():
        raise CheckpointError(f"{path} is missing.", field="path", remedy="Name a safetensors file or a folder.")
    files = [file_facts(name, check_inside(path, file)) for name, file in weight_files(path).items()]
    if not files:
        raise CheckpointError(f"{path} holds no safetensors file.", field="path", remedy="Pickle files are never read.")
    try:
        checkpoint, refused = open_checkpoint(path), None
    except CheckpointError as error:
        checkpoint, refused = None, error.message
    return Inspection(
        path=str(path),
        family=checkpoint.family if checkpoint else None,
        refused=refused,
        encoders=[encoder_facts(checkpoint, encoder) for encoder in checkpoint.encoders] if checkpoint else [],
        second_ways=[unedited_encoder_facts(one) for one in checkpoint.unedited_encoders] if checkpoint else [],
        files=files,
    )


def file_facts(name: str, path: Path) -> FileFacts:
    """A file's facts."""
    layout = read_layout(path)
    return FileFacts(
        name=name,
        size=path.stat().st_size,
        tensors=len(layout.spans),
        dtypes=bytes_by_dtype(layout.spans),
        metadata=decode_metadata(layout),
    )


def bytes_by_dtype(spans: Mapping[str, TensorSpan]) -> dict[str, int]:
    """Most bytes first."""
    total: dict[str, int] = {}
    for span in spans.values():
        total[span.dtype] = total.get(span.dtype, 0) + span.size
    return dict(sorted(total.items(), key=lambda pair: -pair[1]))


def decode_metadata(layout: FileLayout) -> dict[str, Any]:
    """The metadata, our own entry as an object."""
    try:
        return layout.metadata | {EXPUNGE_ENTRY: json.loads(layout.metadata[EXPUNGE_ENTRY])}
    except (KeyError, ValueError):
        return dict(layout.metadata)


def unedited_encoder_facts(encoder: UneditedEncoder) -> UneditedEncoderFacts:
    """Describe a text encoder that the edit does not change."""
    return UneditedEncoderFacts(component=encoder.component, share=encoder.share, sentence=encoder.limitation)


def encoder_facts(checkpoint: Checkpoint, encoder: TextEncoder) -> EncoderFacts:
    """An encoder's facts."""
    name = OUT_PROJ.format(layer=0)
    file = encoder.file_of(name)
    tokens, *whole = EDIT_INPUTS
    return EncoderFacts(
        component=encoder.component,
        width=encoder.width,
        heads=encoder.heads,
        layers=encoder.layers,
        context=encoder.context,
        vocabulary=encoder.vocabulary,
        activation=encoder.activation,
        dtype=encoder.place(name).dtype,
        file=file.name if file == checkpoint.path else file.relative_to(checkpoint.path).as_posix(),
        edited=encoder.stored_name(name),
        edited_bytes=encoder.place(name).size,
        read_whole={canonical: encoder.place(canonical).size for canonical in whole},
        read_by_row=encoder.place(tokens).size // encoder.vocabulary,
    )
