"""Downloads of base models from a Hugging Face Hub: safetensors, configurations and tokenizers of one commit, never code."""

import shutil
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from huggingface_hub.hf_api import RepoFile

from api_schemas.model_files import MODEL_FILE_SUFFIXES, is_model_file
from api_schemas.registrations import HubSource
from service.store.errors import HubError, StoreUnavailable
from service.store.settings import StoreSettings

ALLOW_PATTERNS = [f"*{suffix}" for suffix in sorted(MODEL_FILE_SUFFIXES)]
"""Files that are downloaded. Hidden ones are left out."""
SPARE_BYTES = 1 << 30
"""Bytes that stay free on the disk of the downloads."""
PERMANENT_STATUSES = range(400, 429)

DownloadProgress = Callable[[float, str], object]
"""Called with the finished share and the file that is downloaded next."""


def check_allowed(settings: StoreSettings) -> None:
    """Raise `HubError` unless the settings of this worker allow downloads."""
    if not settings.hub_downloads:
        raise HubError(
            "Downloads from a Hub are not allowed on this worker.",
            field="hub",
            remedy="Set EXPUNGE_HUB_DOWNLOADS=true.",
        )


def download(source: HubSource, folder: Path, progress: DownloadProgress) -> Path:
    """Download a repository's files into a folder, those that are missing. Returns the path of the model.

    Raises:
        HubError: the Hub refuses, the repository has no such files, or the disk is too small.
        StoreUnavailable: the Hub cannot be reached; trying again may help.
    """
    try:
        files = _wanted_files(source)
        _check_space(folder, files)
        total, done = sum(file.size for file in files) or 1, 0
        for file in files:
            progress(done / total, f"downloading {file.path}")
            _download_file(source, file.path, folder)
            done += file.size
    except HfHubHTTPError as error:
        raise _refused(source, error) from error
    except (LocalEntryNotFoundError, OSError) as error:
        raise StoreUnavailable(
            f"The Hub cannot be reached ({type(error).__name__}).", remedy="Try again in a moment."
        ) from error
    return folder / source.filename if source.filename else folder


def _wanted_files(source: HubSource) -> Sequence[RepoFile]:
    """Return the files to download."""
    tree = HfApi().list_repo_tree(source.repo_id, revision=source.revision, recursive=True)
    files = [entry for entry in tree if isinstance(entry, RepoFile)]
    if source.filename:
        wanted = [file for file in files if file.path == source.filename]
    else:
        wanted = [file for file in files if _is_wanted(file.path)]
    if not any(file.path.endswith(".safetensors") for file in wanted):
        raise HubError(
            f"{source.repo_id} has no {source.filename or 'safetensors files'} at this commit.",
            field="hub",
            remedy="Choose a repository with safetensors weights; pickles are never downloaded.",
        )
    return wanted


def _is_wanted(name: str) -> bool:
    path = PurePosixPath(name)
    return ".." not in path.parts and is_model_file(path) and any(fnmatchcase(name, one) for one in ALLOW_PATTERNS)


def _check_space(folder: Path, files: Sequence[RepoFile]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    missing = sum(file.size for file in files if not (folder / file.path).is_file())
    free = shutil.disk_usage(folder).free
    if missing + SPARE_BYTES > free:
        raise HubError(
            f"The download needs {missing} bytes, and {max(free - SPARE_BYTES, 0)} are available.",
            field="hub",
            remedy="Free space, or set EXPUNGE_HUB_DIR to a larger disk.",
        )


def _download_file(source: HubSource, name: str, folder: Path) -> None:
    HfApi().hf_hub_download(source.repo_id, name, revision=source.revision, local_dir=folder)


def _refused(source: HubSource, error: HfHubHTTPError) -> HubError | StoreUnavailable:
    """Return the error for an answer of the Hub, without its text, which may contain a token."""
    status = error.response.status_code if error.response is not None else 0
    if status in PERMANENT_STATUSES:
        return HubError(
            f"The Hub answers {status} for {source.repo_id} at {source.revision[:12]}.",
            field="hub",
            remedy="Check repository and commit; for gated repositories, set HF_TOKEN for the worker.",
        )
    return StoreUnavailable(f"The Hub answers {status}.", remedy="Try again in a moment.")
