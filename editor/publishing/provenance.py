"""What every report says of the base model, and of the software that it comes from."""

from collections.abc import Mapping
from importlib.metadata import version

from api_schemas.report import ModelRecord
from editor.checkpoints import Checkpoint, file_digest, weight_files

SOFTWARE = ("expunge", "torch", "diffusers", "transformers", "safetensors")


def weights_digests(checkpoint: Checkpoint) -> dict[str, str]:
    """Digest of each weights file of the base model."""
    return {name: file_digest(path) for name, path in weight_files(checkpoint.path).items()}


def model_record(model: str, checkpoint: Checkpoint, digests: Mapping[str, str]) -> ModelRecord:
    """The base model, by the name that the caller has for it."""
    return ModelRecord(id=model, family=checkpoint.family, files=dict(digests))


def software() -> dict[str, str]:
    """Versions of what decides the numbers."""
    return {name: version(name) for name in SOFTWARE}
