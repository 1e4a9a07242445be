"""Registration of base models: every file is checked and hashed, and hashed again only if its size or time changed."""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from api_schemas.model_files import is_hidden
from service.store.base_models import MODEL_ID, SINGLE_FILE_SUFFIX, RegisteredModel
from service.store.blobs import CHUNK_BYTES
from service.store.database import Database
from service.store.errors import RefusedModel, RegisteredModelChanged
from service.store.orm import ModelCalibration, ModelRegistration, RegisteredFile

CODE_SUFFIXES = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".py", ".pyc", ".so", ".zip"}
"""Suffixes of files that may execute code when they are loaded."""
FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+ -]{0,199}")

MODEL, COMPONENTS = "model", "components"
"""Parts of a registered model."""
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


def register_model(
    database: Database, model_id: str, model: Path, now: datetime, progress: ByteProgress = lambda size: None
) -> RegistrationResult:
    """Register a diffusers folder or a single safetensors file as a base model.

    Each digest is stored as soon as it is computed, so an interrupted registration resumes.

    Raises:
        RefusedModel: the id or a file is not acceptable.
    """
    if not MODEL_ID.fullmatch(model_id):
        raise RefusedModel(
            f'"{model_id}" is not a valid model id.', remedy="Use letters, digits, dots and dashes: --id NAME."
        )
    paths = model_files(model)
    with database.write() as session:
        session.merge(ModelRegistration(id=model_id, path=str(model), registered_at=now))
    hashed = sum(_hash_if_changed(database, model_id, name, path, progress) for name, path in paths.items())
    with database.write() as session:
        removed = delete(RegisteredFile).where(
            RegisteredFile.model_id == model_id, RegisteredFile.part == MODEL, RegisteredFile.name.not_in(paths)
        )
        session.execute(removed)
    return RegistrationResult(model_id, len(paths), hashed)


def model_files(model: Path) -> dict[str, Path]:
    """Return the files of a model by name: those of its folder except hidden ones, or its single file.

    Raises:
        RefusedModel: the model is neither a diffusers folder nor a safetensors file, or contains links, code or invalid file
            names.
    """
    if model.suffix == SINGLE_FILE_SUFFIX and model.is_file():
        _check_file(model, Path(model.name))
        return {model.name: model}
    if not (model / "model_index.json").is_file():
        raise RefusedModel(
            f"{model.name} is neither a diffusers folder nor a safetensors file.",
            remedy="Give the folder that contains model_index.json, or a single-file checkpoint.",
        )
    return checked_files(model)


def checked_files(folder: Path) -> dict[str, Path]:
    """Return the files of a folder by relative path, except hidden ones.

    Raises:
        RefusedModel: the folder contains links, code or invalid file names.
    """
    paths = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if is_hidden(name):
            continue
        _check_file(path, name)
        if path.is_file():
            paths[name.as_posix()] = path
    return paths


def unregister_model(session: Session, model_id: str) -> bool:
    """Unregister a model and forget its calibration. Its files are kept. Returns whether it was registered."""
    session.execute(delete(ModelCalibration).where(ModelCalibration.model == model_id))
    session.execute(delete(RegisteredFile).where(RegisteredFile.model_id == model_id))
    registration = session.get(ModelRegistration, model_id)
    if registration is not None:
        session.delete(registration)
    return registration is not None


def load_files(session: Session, model_id: str, part: str = MODEL) -> Sequence[RegisteredFile]:
    """Return the recorded files of a model or of its components, by name."""
    query = select(RegisteredFile).where(RegisteredFile.model_id == model_id, RegisteredFile.part == part)
    return session.scalars(query.order_by(RegisteredFile.name)).all()


def current_digests(model: RegisteredModel, known: Sequence[RegisteredFile]) -> dict[str, str | None]:
    """Return the digest of each file of a model, by name; None for files that have changed since the registration."""
    return digests_of(model.paths(), known)


def digests_of(paths: Mapping[str, Path], known: Sequence[RegisteredFile]) -> dict[str, str | None]:
    """Return the recorded digest of each file, by name; None for files that have changed since they were recorded."""
    sha256_of = {(file.name, file.size, file.mtime_ns): file.sha256 for file in known}
    files = {name: path.stat() for name, path in paths.items()}
    return {name: sha256_of.get((name, stat.st_size, stat.st_mtime_ns)) for name, stat in files.items()}


def commit_of(digests: Mapping[str, str | None]) -> str | None:
    """Return the commit id of a model's files, or None if some have no digest."""
    hashed = {name: sha256 for name, sha256 in digests.items() if sha256}
    return commit_hash(hashed) if len(hashed) == len(digests) else None


def commit_hash(digests: Mapping[str, str]) -> str:
    """Return a commit id for a set of files: 40 hexadecimal digits over their names and digests."""
    lines = (f"{sha256}  {name}\n" for name, sha256 in sorted(digests.items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:40]


def check_unchanged(database: Database, model: RegisteredModel, digest: Callable[[Path], str] | None = None) -> None:
    """Check that a model's files are those that were registered. A model of the settings may change: it is read again.

    Args:
        digest: returns the sha256 of a file, compared for each. None: files of the registered size and time are trusted,
            although the time may have been restored; others are hashed, and their new time is recorded.

    Raises:
        RefusedModel: a link, or a file that may execute code, was added.
        RegisteredModelChanged: a file was changed, added or removed.
    """
    with database.read() as session:
        registration = session.get(ModelRegistration, model.id)
        known = {file.name: file for file in load_files(session, model.id)}
    if registration is None or Path(registration.path) != model.path or registration.source == "settings":
        return
    paths = model_files(model.path)
    differing = sorted(known.keys() ^ paths.keys()) + [
        name
        for name in sorted(known.keys() & paths.keys())
        if not _is_unchanged(database, known[name], paths[name], digest)
    ]
    if differing:
        raise RegisteredModelChanged(
            f"The base model {model.id} has changed since it was registered: {_summarize(differing)}.",
            field="model",
            remedy=f"Ask the operator to restore it, or to register it again: expunge models add PATH --id {model.id}",
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
            session.get_one(RegisteredFile, (known.model_id, known.part, known.name)).mtime_ns = stat.st_mtime_ns
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


def _hash_if_changed(database: Database, model_id: str, name: str, path: Path, progress: ByteProgress) -> bool:
    """Record the file's digest. Returns whether the file had to be read."""
    stat = path.stat()
    with database.read() as session:
        recorded = session.get(RegisteredFile, (model_id, MODEL, name))
    if recorded and (recorded.size, recorded.mtime_ns) == (stat.st_size, stat.st_mtime_ns):
        progress(stat.st_size)
        return False
    sha256 = _sha256(path, progress)
    row = RegisteredFile(
        model_id=model_id, part=MODEL, name=name, size=stat.st_size, mtime_ns=stat.st_mtime_ns, sha256=sha256
    )
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
