"""Edits as repositories of a Hugging Face Hub: the base model's files, with those of the edit in their places.

`expunge/<edit>` is one edit; `expunge/<model>` is what your ledger of a model makes of it, whose revisions are the ledger's
numbers (`main`: the last one). A commit is named by what all files hash to, so another content is another commit.
"""

import mimetypes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BufferedReader
from pathlib import Path

from service.api.file_response import Content
from service.core.digest_cache import FileDigests, state_of
from service.core.serializers import commit_of
from service.errors import BaseModelChanged, NotFound
from service.store.blobs import CHUNK
from service.store.orm import RegisteredFile

NAMESPACE = "expunge"
MAIN = "main"


@dataclass(frozen=True)
class HubFile:
    """One file of a repository."""

    name: str
    size: int
    sha256: str
    media_type: str
    content: Content


@dataclass(frozen=True)
class Repository:
    """All files of one revision."""

    id: str
    files: dict[str, HubFile]

    @cached_property
    def commit(self) -> str:
        """What all its files hash to."""
        return commit_of({name: file.sha256 for name, file in self.files.items()})

    def at(self, revision: str) -> "Repository":
        """Itself, where `revision` is this commit. Raises `RevisionNotFound`."""
        if revision != self.commit:
            raise no_revision(self.id, revision)
        return self

    def file(self, name: str) -> HubFile:
        """One of the files. Raises `NotFound`, in the words that the Hub's clients know."""
        try:
            return self.files[name]
        except KeyError:
            raise NotFound(
                f"{self.id} has no such file.",
                remedy="The repository's tree lists them.",
                headers={"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"},
            ) from None


def base_files(folder: Path, digests: FileDigests, known: Sequence[RegisteredFile] = ()) -> Iterator[HubFile]:
    """The files of a base model that a pipeline may want. No links, nothing hidden, nothing that is code or a pickle.

    Args:
        known: what was noted when the model was registered; other files are hashed.
    """
    noted = {(file.name, file.size, file.mtime_ns): file.sha256 for file in known}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.suffix in PUBLIC and not path.is_symlink() and not any(part.startswith(".") for part in name.parts):
            found = path.stat()
            sha256 = noted.get((name.as_posix(), found.st_size, found.st_mtime_ns))
            with path.open("rb") as file:
                yield _base_file(path, name.as_posix(), sha256 or digests.of(file))


PUBLIC = {".safetensors", ".json", ".txt", ".model", ".md"}


def _base_file(path: Path, name: str, sha256: str) -> HubFile:
    def content(start: int, end: int) -> Iterator[bytes]:
        file = path.open("rb")
        return _chunks(file, name, start, end)

    media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return HubFile(name, path.stat().st_size, sha256, media_type, content)


def _chunks(file: BufferedReader, name: str, start: int, end: int) -> Iterator[bytes]:
    """Raises `BaseModelChanged` when the file changes meanwhile: a reply that breaks off is better than wrong bytes."""
    with file:
        state = state_of(file)
        file.seek(start)
        while start < end:
            chunk = file.read(min(CHUNK, end - start))
            if not chunk or state_of(file) != state:
                raise BaseModelChanged(f"the base model's file {name} has changed while it was read.")
            start += len(chunk)
            yield chunk


def no_repository(name: str) -> NotFound:
    """Nothing is called so, or nothing that this key may see."""
    headers = {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}
    return NotFound(
        f"there is no repository {name}.", remedy=f"Ask for {NAMESPACE}/<edit> or {NAMESPACE}/<model>.", headers=headers
    )


def no_revision(name: str, revision: str) -> NotFound:
    """The repository is there, the revision is not."""
    headers = {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "Revision not found"}
    return NotFound(f"{name} has no revision {revision}.", remedy=f"Ask for {MAIN}.", headers=headers)
