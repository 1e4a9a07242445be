"""Read a base model for its registration: family, digest of its weights, and digests of its text encoders."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from api_schemas.jobs import EditableEncoder
from api_schemas.registrations import ModelDescription
from editor.checkpoints import TextEncoder
from editor.jobs.model import open_model
from editor.prompts.profile import parse_profile


def describe_model(path: Path, profile: Mapping[str, Any] | None, digest_folder: Path) -> ModelDescription:
    """Describe a diffusers folder or a single-file checkpoint.

    Args:
        path: the model.
        profile: used instead of the model's own.
        digest_folder: stores the digests of the model's files for the next process.

    Raises:
        CheckpointError: the model cannot be edited, or its profile does not match the schema.
    """
    model = open_model(path, digest_folder, parse_profile(profile) if profile else None)
    encoders = [describe_encoder(encoder) for encoder in model.checkpoint.encoders]
    return ModelDescription(family=model.checkpoint.family, digest=model.digest, encoders=encoders)


def describe_encoder(encoder: TextEncoder) -> EditableEncoder:
    """Describe a text encoder. Its digest covers all of its tensors, so that equal digests mean equal edits."""
    kind = (encoder.config.get("architectures") or ["CLIPTextModel"])[0]
    return EditableEncoder(
        component=encoder.component,
        kind=kind,
        layers=encoder.layers,
        width=encoder.width,
        digest=encoder.digest(encoder.locations),
    )
