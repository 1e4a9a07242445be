"""Registration of base models: every file is checked and hashed, and hashed again only if its size or time changed."""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from service.store.base_models import MODEL_ID, RegisteredModel
from service.store.blobs import CHUNK_BYTES
from service.store.database import Database
from service.store.errors import RefusedModel, RegisteredModelChanged
from service.store.orm import ModelCalibration, ModelRegistration, RegisteredFile

CODE_SUFFIXES = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".py", ".pyc", ".so", ".zip"}
"""Suffixes of files that may execute code when they are loaded."""
FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+ -]{0,199}")

MAX_LISTED_FILES = 3
"""File names in an error message."""

ByteProgress = Callable[[int], object]
"""Called with the number of bytes that were processed."""


@dataclass(frozen=True)
class RegistrationResult:
    """The result of a registration."""

    model: str
    files: int
    hashed: int
    """Files that had to be read; the others had the same size and time as when they were last hashed."""


def register(
    database: Database, model_id: str, folder: Path, now: datetime, progress: ByteProgress = lambda size: None
) -> RegistrationResult:
    """Register a diffusers folder as a base model.

    Each digest is stored as soon as it is computed, so an interrupted registration resumes.

    Raises:
        RefusedModel: the id or a file of the folder is not acceptable.
    """
    if not MODEL_ID.fullmatch(model_id):
        raise RefusedModel(
            f'"{model_id}" is not a valid model id.', remedy="Use letters, digits, dots and dashes: --id NAME."
        )
    paths = sorted(model_files(folder))
    with database.write() as session:
        session.merge(ModelRegistration(id=model_id, folder=str(folder), registered_at=now))
    hashed = sum(_hash_if_changed(database, model_id, folder, path, progress) for path in paths)
    names = {path.relative_to(folder).as_posix() for path in paths}
    with database.write() as session:
        removed = delete(RegisteredFile).where(RegisteredFile.model_id == model_id, RegisteredFile.name.not_in(names))
        session.execute(removed)
    return RegistrationResult(model_id, len(paths), hashed)


def model_files(folder: Path) -> Iterator[Path]:
    """Iterate over the files of a model folder, except hidden ones.

    Raises:
        RefusedModel: the folder is not in diffusers format, or contains links, code or invalid file names.
    """
    if not (folder / "model_index.json").is_file():
        raise RefusedModel(
            f"{folder} is not a diffusers folder.", remedy="Give the folder that contains model_index.json."
        )
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        if any(part.startswith(".") for part in name.parts):
            continue
        _check_file(path, name)
        if path.is_file():
            yield path


def unregister(session: Session, model_id: str) -> bool:
    """Unregister a model and forget its calibration. Its files are kept. Returns whether it was registered."""
    session.execute(delete(ModelCalibration).where(ModelCalibration.model == model_id))
    session.execute(delete(RegisteredFile).where(RegisteredFile.model_id == model_id))
    registration = session.get(ModelRegistration, model_id)
    if registration is not None:
        session.delete(registration)
    return registration is not None


def registered_folders(session: Session) -> Mapping[str, Path]:
    """Return the folder of each registered model, by model id."""
    return {model.id: Path(model.folder) for model in session.scalars(select(ModelRegistration))}


def registered_files(session: Session, model_id: str) -> Sequence[RegisteredFile]:
    """Return the recorded files of a model, by name."""
    query = select(RegisteredFile).where(RegisteredFile.model_id == model_id)
    return session.scalars(query.order_by(RegisteredFile.name)).all()


def current_digests(model: RegisteredModel, known: Sequence[RegisteredFile]) -> dict[str, str | None]:
    """Return the digest of each file of a model, by name; None for files that have changed since the registration."""
    sha256_of = {(file.name, file.size, file.mtime_ns): file.sha256 for file in known}
    files = model.files().items()
    return {name: sha256_of.get((name, stat.st_size, stat.st_mtime_ns)) for name, stat in files}


def commit_of(digests: Mapping[str, str | None]) -> str | None:
    """Return the commit id of a model's files, or None if some have no digest."""
    hashed = {name: sha256 for name, sha256 in digests.items() if sha256}
    return commit_hash(hashed) if len(hashed) == len(digests) else None


def commit_hash(digests: Mapping[str, str]) -> str:
    """Return a commit id for a set of files: 40 hexadecimal digits over their names and digests."""
    lines = (f"{sha256}  {name}\n" for name, sha256 in sorted(digests.items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:40]


def check_unchanged(database: Database, model: RegisteredModel, digest: Callable[[Path], str] | None = None) -> None:
    """Check that a model's files are those that were registered. Models of the settings have no digests to compare with.

    Args:
        digest: returns the sha256 of a file, compared for each. None: files of the registered size and time are trusted,
            although the time may have been restored; others are hashed, and their new time is recorded.

    Raises:
        RefusedModel: a link, or a file that may execute code, was added.
        RegisteredModelChanged: a file was changed, added or removed.
    """
    with database.read() as session:
        registration = session.get(ModelRegistration, model.id)
        known = {file.name: file for file in registered_files(session, model.id)}
    if registration is None or Path(registration.folder) != model.folder:
        return
    paths = {path.relative_to(model.folder).as_posix(): path for path in model_files(model.folder)}
    differing = sorted(known.keys() ^ paths.keys()) + [
        name
        for name in sorted(known.keys() & paths.keys())
        if not _is_unchanged(database, known[name], paths[name], digest)
    ]
    if differing:
        raise RegisteredModelChanged(
            f"The base model {model.id} has changed since it was registered: {_summarize(differing)}.",
            field="model",
            remedy=f"Ask the operator to restore it, or to register it again: expunge models add FOLDER --id {model.id}",
        )


def _is_unchanged(database: Database, known: RegisteredFile, path: Path, digest: Callable[[Path], str] | None) -> bool:
    stat = path.stat()
    has_known_time = known.mtime_ns == stat.st_mtime_ns
    if known.size == stat.st_size and has_known_time and digest is None:
        return True
    if known.size != stat.st_size or known.sha256 != (digest or _sha256)(path):
        return False
    if not has_known_time:
        with database.write() as session:
            session.get_one(RegisteredFile, (known.model_id, known.name)).mtime_ns = stat.st_mtime_ns
    return True


def _summarize(names: Sequence[str]) -> str:
    listed = ", ".join(names[:MAX_LISTED_FILES])
    others = len(names) - MAX_LISTED_FILES
    return f"{listed} and {others} more" if others > 0 else listed


def _check_file(path: Path, name: Path) -> None:
    if path.is_symlink():
        raise RefusedModel(
            f"{name} is a symbolic link.",
            remedy="Copy the model, so that the files that are checked are the files that are used.",
        )
    if path.suffix.lower() in CODE_SUFFIXES:
        raise RefusedModel(
            f"{name} may execute code when it is loaded.", remedy="Convert it to safetensors and remove it."
        )
    if not all(FILE_NAME.fullmatch(part) for part in name.parts):
        raise RefusedModel(
            f"{str(name)!r} contains characters that are not allowed in a file name.",
            remedy="Rename or remove the file.",
        )


def _hash_if_changed(database: Database, model_id: str, folder: Path, path: Path, progress: ByteProgress) -> bool:
    """Record the file's digest. Returns whether the file had to be read."""
    name, stat = path.relative_to(folder).as_posix(), path.stat()
    with database.read() as session:
        recorded = session.get(RegisteredFile, (model_id, name))
    if recorded and (recorded.size, recorded.mtime_ns) == (stat.st_size, stat.st_mtime_ns):
        progress(stat.st_size)
        return False
    sha256 = _sha256(path, progress)
    row = RegisteredFile(model_id=model_id, name=name, size=stat.st_size, mtime_ns=stat.st_mtime_ns, sha256=sha256)
    with database.write() as session:
        session.merge(row)
    return True


def _sha256(path: Path, progress: ByteProgress = lambda size: None) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            progress(len(chunk))
    return digest.hexdigest()
