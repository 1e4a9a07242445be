"""Runs registration jobs: downloads a base model if it comes from a Hub, hashes its files, and describes it."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from api_schemas.registrations import HubSource, ModelDescription
from editor.io.digest_cache import DIGEST_FOLDER, remembered_digest
from service.store.base_models import RegisteredModel
from service.store.database import Database
from service.store.errors import UnknownModel
from service.store.model_paths import resolve_model_path
from service.store.model_registrations import FileDigest, NewDescription
from service.store.orm import ModelRegistration
from service.store.registered_files import COMPONENTS, MODEL, checked_files, model_files
from worker import hub_download
from worker.progress import ProgressReporter
from worker.settings import WorkerSettings

if TYPE_CHECKING:
    from editor.jobs import registration
    from editor.prompts import Profile

PHASES = ("download", "register")


class RegistrationModule(Protocol):
    """Interface of `editor.jobs.registration`."""

    def describe_model(self, path: Path, profile: Mapping[str, Any] | None, digest_folder: Path) -> ModelDescription:
        """Describe a base model. Raises `EditorError`."""


def load(module: str) -> RegistrationModule:
    """Import a registration module. It is imported late, because it imports torch."""
    return cast(RegistrationModule, importlib.import_module(module))


if TYPE_CHECKING:
    _CHECKED_MODULE: RegistrationModule = registration


@dataclass(frozen=True)
class Registration:
    """A registration job. An attempt resumes where the last one stopped: files are downloaded and hashed once."""

    settings: WorkerSettings
    model: RegisteredModel
    hub: HubSource | None
    progress: ProgressReporter

    def run(self) -> NewDescription:
        """Read the model.

        Raises:
            RefusedModel, PathNotAllowed: a file or the path is not acceptable.
            HubError: the download failed for good.
            EditorError: the model cannot be edited.
        """
        self.progress.phases = PHASES
        self.progress.start_phase("download")
        path = self._download() if self.hub else self.model.path
        self.progress.start_phase("register")
        self._check_places(path)
        files = self._hash_files(path)
        module = load(self.settings.registrar)
        self.progress("register", 0.9, "reading the text encoders")
        return NewDescription(path, module.describe_model(path, self.model.profile, self._digest_folder), files)

    @property
    def _digest_folder(self) -> Path:
        return self.settings.cache_dir / DIGEST_FOLDER

    def _download(self) -> Path:
        assert self.hub, "the model comes from a Hub"
        hub_download.check_allowed(self.settings)
        folder = self.settings.download_folder(self.model.id)
        return hub_download.download(self.hub, folder, lambda share, name: self.progress("download", share, name))

    def _check_places(self, path: Path) -> None:
        """Check the paths again: they were checked when the request arrived, and links may have appeared since."""
        roots = self.settings.allowed_model_roots
        if self.model.source == "path":
            resolve_model_path(str(path), roots)
        if self.model.components:
            resolve_model_path(str(self.model.components), roots, "components")

    def _hash_files(self, path: Path) -> list[FileDigest]:
        components = self.model.components
        found = [(MODEL, *item) for item in model_files(path).items()]
        found += [(COMPONENTS, *item) for item in (checked_files(components).items() if components else ())]
        total, done, digests = sum(file.stat().st_size for _, _, file in found) or 1, 0, []
        for part, name, file in found:
            self.progress("register", 0.9 * done / total, f"hashing {name}")
            stat, sha256 = file.stat(), remembered_digest(file, self._digest_folder)
            digests.append(FileDigest(part, name, stat.st_size, stat.st_mtime_ns, sha256))
            done += stat.st_size
        return digests


def find(database: Database, registered: RegisteredModel) -> HubSource | None:
    """Return the repository that a model comes from, or None. Raises `UnknownModel`: it is not registered any more."""
    with database.read() as session:
        row = session.get(ModelRegistration, registered.id)
    if row is None:
        raise UnknownModel(
            f"The registration of {registered.id} was deleted.", field="model", remedy="Register the model again."
        )
    return HubSource.model_validate(row.hub) if row.hub else None


def parse_profile(model: RegisteredModel) -> "Profile | None":
    """Return the profile that was registered with a model. Raises `EditorError`."""
    if model.profile is None:
        return None
    from editor.prompts import profile  # imports torch

    return profile.parse_profile(model.profile)
