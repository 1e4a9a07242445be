"""The base model and the software versions that every report records."""

from collections.abc import Mapping
from importlib.metadata import version

from api_schemas.report import ModelRecord
from editor.checkpoints import Checkpoint, model_files
from editor.io.digests import file_digest

SOFTWARE_PACKAGES = ("expunge", "torch", "diffusers", "transformers", "safetensors")


def model_digests(checkpoint: Checkpoint) -> dict[str, str]:
    """Return the sha256 of each file of the base model, by its path inside the model: everything that is served."""
    return {name: file_digest(path) for name, path in model_files(checkpoint.path).items()}


def model_record(model: str, checkpoint: Checkpoint, digests: Mapping[str, str]) -> ModelRecord:
    """Describe the base model under the caller's name for it."""
    return ModelRecord(id=model, family=checkpoint.family, files=dict(digests))


def software_versions() -> dict[str, str]:
    """Return the versions of the packages that the numbers depend on."""
    return {name: version(name) for name in SOFTWARE_PACKAGES}
