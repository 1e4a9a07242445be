"""Edits as Hugging Face Hub repositories: the base model's files, with those of the edit in their place.

`expunge/<edit>` is one edit. `expunge/<model>` is the model with your ledger applied; its revisions are the ledger's revision
numbers, and `main` is the latest one. A commit id is a digest over all files, so other contents have another commit id.
"""

import mimetypes
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BufferedReader
from pathlib import Path, PurePath

from api_schemas.model_files import is_model_file
from service.api.file_response import RangeReader
from service.core.digest_cache import DigestCache, file_state
from service.errors import BaseModelChanged, NotFound
from service.store.blobs import CHUNK_BYTES
from service.store.orm import RegisteredFile
from service.store.registered_files import commit_hash

NAMESPACE = "expunge"
MAIN = "main"


@dataclass(frozen=True)
class HubFile:
    """One file of a repository."""

    name: str
    size: int
    sha256: str
    media_type: str
    content: RangeReader
    blob: str | None = None
    """Its blob, unless it is a file of the base model or assembled from one."""


@dataclass(frozen=True)
class Repository:
    """The files of one revision."""

    id: str
    files: dict[str, HubFile]

    @cached_property
    def commit(self) -> str:
        """The digest over all files."""
        return commit_hash({name: file.sha256 for name, file in self.files.items()})

    def file(self, name: str) -> HubFile:
        """Return a file. Raises `NotFound` with the error code that Hub clients expect."""
        try:
            return self.files[name]
        except KeyError:
            raise NotFound(
                f"{self.id} has no file {name}.",
                remedy="The repository's tree lists its files.",
                headers={"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"},
            ) from None


def list_base_files(
    paths: Mapping[str, Path], digests: DigestCache, known: Sequence[RegisteredFile] = ()
) -> Iterator[HubFile]:
    """Yield the files of a base model that a pipeline can load. Links, hidden files, code and pickles are left out.

    Args:
        paths: The files of the model by name.
        known: Digests from the model's registration. Files that are not among them are hashed.
    """
    registered = {(file.name, file.size, file.mtime_ns): file.sha256 for file in known}
    for name, path in paths.items():
        if is_model_file(PurePath(name)) and not path.is_symlink():
            stat = path.stat()
            sha256 = registered.get((name, stat.st_size, stat.st_mtime_ns))
            with path.open("rb") as file:
                yield _base_file(path, name, sha256 or digests.sha256(file))


def _base_file(path: Path, name: str, sha256: str) -> HubFile:
    def content(start: int, end: int) -> Iterator[bytes]:
        file = path.open("rb")
        return _read_range(file, name, start, end)

    media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return HubFile(name, path.stat().st_size, sha256, media_type, content)


def _read_range(file: BufferedReader, name: str, start: int, end: int) -> Iterator[bytes]:
    """Read a range in chunks. Raises `BaseModelChanged` if the file changes: an aborted response is better than wrong bytes."""
    with file:
        state = file_state(file)
        file.seek(start)
        while start < end:
            chunk = file.read(min(CHUNK_BYTES, end - start))
            if not chunk or file_state(file) != state:
                raise BaseModelChanged(f"The base model's file {name} changed while it was read.", remedy="Try again.")
            start += len(chunk)
            yield chunk


def repository_not_found(name: str) -> NotFound:
    """Return the error for a repository that does not exist or is not visible to the caller."""
    headers = {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}
    return NotFound(
        f"There is no repository {name}.", remedy=f"Use {NAMESPACE}/<edit> or {NAMESPACE}/<model>.", headers=headers
    )


def revision_not_found(name: str, revision: str) -> NotFound:
    """Return the error for a revision that does not exist."""
    headers = {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "Revision not found"}
    return NotFound(
        f"{name} has no revision {revision}.", remedy=f"Use {MAIN} for the latest revision.", headers=headers
    )
