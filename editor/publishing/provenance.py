"""The base model, the profile and the software versions that every report records."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

from api_schemas.report import ModelRecord, ProfileRecord
from editor.checkpoints import Checkpoint, model_files
from editor.io.digest_cache import remembered_digest
from editor.io.digests import sha256_hex
from editor.io.progress import track
from editor.prompts.profile import Profile, general_profile, load_profile

SOFTWARE_PACKAGES = ("expunge", "torch", "diffusers", "transformers", "safetensors")


HASHING_THREADS = 2


def model_digests(checkpoint: Checkpoint, remember_in: Path | None = None) -> dict[str, str]:
    """Return the sha256 of each file of the base model, by its path inside the model: everything that is served.

    Args:
        checkpoint: the base model.
        remember_in: the folder that stores digests for the next process.
    """
    files = model_files(checkpoint.path)
    with ThreadPoolExecutor(HASHING_THREADS) as pool:
        digests = [pool.submit(remembered_digest, path, remember_in) for path in files.values()]
        return {name: digest.result() for name, digest in track(list(zip(files, digests, strict=True)))}


def model_record(model: str, checkpoint: Checkpoint, digests: Mapping[str, str]) -> ModelRecord:
    """Describe the base model under the caller's name for it."""
    return ModelRecord(id=model, family=checkpoint.family, files=dict(digests))


def profile_record(profile: Profile, model: Path) -> ProfileRecord:
    """Describe the profile that a model was edited with."""
    known = ((general_profile(), "general"), (load_profile(model), "model"))
    name: Any = next((name for other, name in known if other == profile), "given")
    return ProfileRecord(name=name, sha256=sha256_hex(profile.model_dump_json()))


def software_versions() -> dict[str, str]:
    """Return the versions of the packages that the numbers depend on."""
    return {name: version(name) for name in SOFTWARE_PACKAGES}
