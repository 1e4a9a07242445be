"""A fake of `editor.jobs.registration`: the digest of the text encoder is that of its file."""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from api_schemas.jobs import EditableEncoder
from api_schemas.registrations import ModelDescription
from editor.errors import CheckpointError
from tests.fakes.model import WEIGHTS


def describe_model(path: Path, profile: Mapping[str, Any] | None, digest_folder: Path) -> ModelDescription:
    weights = path if path.is_file() else path / WEIGHTS
    if profile and "refused" in profile:
        raise CheckpointError("The profile is not valid.", field="profile", remedy="Correct it.")
    digest = sha256(weights.read_bytes()).hexdigest()
    encoder = EditableEncoder(component="text_encoder", kind="CLIPTextModel", layers=6, width=384, digest=digest)
    return ModelDescription(family="fake", digest=digest, encoders=[encoder])
