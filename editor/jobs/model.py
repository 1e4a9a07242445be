"""The base model of a job."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path

from editor.checkpoints import Checkpoint, open_checkpoint
from editor.io.background import BackgroundValue, run_in_background
from editor.io.digests import file_digest, sha256_hex
from editor.io.file_version import ModelVersion, model_version
from editor.prompts import Profile, PromptBuilder, open_prompt_builders
from editor.publishing.provenance import model_digests

MODELS_IN_MEMORY = 2
"""Opened models that a process keeps: their headers and tokenizers, not their weights."""
COMPONENT_SUFFIXES = (".safetensors", ".gguf", ".json")
"""Files in a folder of components that images depend on."""


@dataclass(frozen=True)
class Model:
    """A base model: its tensors, opened lazily, and a prompt builder for each text encoder."""

    checkpoint: Checkpoint
    prompt_builders: list[PromptBuilder]
    digest_folder: Path | None = None
    """Stores the digests of the model's files for the next process."""

    @property
    def path(self) -> Path:
        """The model's folder or file."""
        return self.checkpoint.path

    @property
    def prompts(self) -> PromptBuilder:
        """The prompt builder of the first text encoder."""
        return self.prompt_builders[0]

    @cached_property
    def digests(self) -> dict[str, str]:
        """The sha256 of each file, by its path inside the model."""
        return self.pending_digests.join()

    @cached_property
    def pending_digests(self) -> BackgroundValue[dict[str, str]]:
        """The digests, computed in the background from the first access on."""
        return run_in_background(lambda: model_digests(self.checkpoint, self.digest_folder))

    @property
    def digest(self) -> str:
        """One sha256 over all weights files."""
        return weights_digest(self.digests)


def weights_digest(digests: Mapping[str, str]) -> str:
    """Return one sha256 over the weights files among the files of a model."""
    return sha256_hex(repr(sorted((name, sha) for name, sha in digests.items() if name.endswith(".safetensors"))))


def images_digest(model: Model, components: Path | None) -> str:
    """Return one sha256 over all files that the images of a base model depend on."""
    digests = component_digests(components)
    return sha256_hex(repr((model.digest, sorted(digests.items())))) if digests else model.digest


def component_digests(components: Path | None) -> dict[str, str]:
    """Return the sha256 of each file in the folder of components, by its path in the folder."""
    paths = [path for path in components.rglob("*") if path.suffix in COMPONENT_SUFFIXES] if components else []
    return {path.relative_to(components).as_posix(): file_digest(path) for path in sorted(paths) if components}


def open_model(
    path: Path, digest_folder: Path | None = None, profile: Profile | None = None, device: str = "cpu"
) -> Model:
    """Open a diffusers folder or a single-file checkpoint lazily.

    Args:
        path: the model.
        digest_folder: stores the digests of the model's files for the next process.
        profile: used instead of the model's own.
        device: where text encoders run of which an edit needs final states.

    Raises:
        CheckpointError: see :func:`editor.checkpoints.open_checkpoint`.
    """
    described = profile.model_dump_json() if profile else None
    checkpoint, builders = _open_model(path, model_version(path), described, device)
    return Model(checkpoint, builders, digest_folder)


@lru_cache(MODELS_IN_MEMORY)
def _open_model(
    path: Path, version: ModelVersion, profile: str | None, device: str
) -> tuple[Checkpoint, list[PromptBuilder]]:
    """Open a model, or return the one in memory with the words that it has tokenized. A changed file opens it again."""
    checkpoint = replace(open_checkpoint(path), device=device)
    return checkpoint, open_prompt_builders(checkpoint, Profile.model_validate_json(profile) if profile else None)
