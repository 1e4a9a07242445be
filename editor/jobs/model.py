"""The base model of a job."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from editor.checkpoints import Checkpoint, TextEncoder, open_checkpoint
from editor.io.background import BackgroundValue, run_in_background
from editor.io.digests import file_digest, sha256_hex
from editor.prompts import Profile, PromptBuilder, open_prompt_builders
from editor.publishing.provenance import model_digests

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
    def first_encoder(self) -> TextEncoder:
        """The first text encoder."""
        return self.checkpoint.encoders[0]

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


def open_model(path: Path, digest_folder: Path | None = None, profile: Profile | None = None) -> Model:
    """Open a diffusers folder or a single-file checkpoint lazily.

    Args:
        path: the model.
        digest_folder: stores the digests of the model's files for the next process.
        profile: used instead of the model's own.

    Raises:
        CheckpointError: see :func:`editor.checkpoints.open_checkpoint`.
    """
    checkpoint = open_checkpoint(path)
    return Model(checkpoint, open_prompt_builders(checkpoint, profile), digest_folder)
