"""Base models on this machine. Clients refer to a model by id, never by path."""

import json
import math
import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from api_schemas.jobs import JobError, ModelSource, ModelStatus
from api_schemas.suggestions import did_you_mean
from service.store.errors import ModelNotAdmitted, UnknownModel

CACHE_SECONDS = 1.0
"""How long, in seconds, a model that was looked up is assumed to be unchanged. Every request looks one up."""
EDITABLE_COMPONENTS = (["transformers", "CLIPTextModel"], ["transformers", "CLIPTextModelWithProjection"])
"""Components of `model_index.json` that can be edited."""
LICENSE_FIELD = re.compile(r"^(license|license_name):\s*(\S.*?)\s*$", re.MULTILINE)
MODEL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
SINGLE_FILE_SUFFIX = ".safetensors"


@dataclass(frozen=True)
class RegisteredModel:
    """A base model: a diffusers folder, or a single safetensors file."""

    id: str
    path: Path
    components: Path | None = None
    """A folder with what the model lacks to generate images."""
    profile: Mapping[str, Any] | None = None
    """Used instead of the model's own."""
    source: ModelSource = "settings"
    status: ModelStatus = "admitted"
    error: JobError | None = field(default=None, compare=False)
    """Why the model was refused."""

    @property
    def is_single_file(self) -> bool:
        """Whether the model is a single file."""
        return self.path.suffix == SINGLE_FILE_SUFFIX

    def base_file(self, name: str) -> Path:
        """Return a file of the model by its name. A single file may have been renamed since it was edited."""
        return self.path if self.is_single_file else self.path / name

    def paths(self) -> dict[str, Path]:
        """Return each file by its name: a path relative to the folder, or the name of the single file."""
        return {self.path.name: self.path} if self.path.is_file() else files_below(self.path)

    def files(self) -> dict[str, os.stat_result]:
        """Return the status of each file, by name."""
        return {name: path.stat() for name, path in self.paths().items()}

    def component_paths(self) -> dict[str, Path]:
        """Return each file of the components, by its path relative to their folder."""
        return files_below(self.components) if self.components else {}

    @cached_property
    def tokenizer_file(self) -> Path | None:
        """Path of `tokenizer/tokenizer.json`, or None if the model does not ship it."""
        path = self.path / "tokenizer" / "tokenizer.json"
        return path if path.is_file() else None

    @cached_property
    def context_length(self) -> int:
        """Maximum number of tokens of a prompt, including BOS and EOS."""
        config = json.loads((self.path / "tokenizer" / "tokenizer_config.json").read_text("utf-8"))
        return int(config["model_max_length"])

    @property
    def licence(self) -> str | None:
        """The licence that the front matter of README.md names (`license_name`, else `license`), or None."""
        card = self.path / "README.md"
        lines = card.read_text("utf-8", "replace").splitlines() if card.is_file() else []
        head = dict(LICENSE_FIELD.findall("\n".join(lines[1 : lines.index("---", 1)]))) if "---" in lines[1:] else {}
        return head.get("license_name") or head.get("license")

    @property
    def encoders(self) -> dict[str, dict[str, Any]]:
        """The configuration of each editable text encoder of a diffusers folder, by component."""
        index_file = self.path / "model_index.json"
        index = json.loads(index_file.read_text("utf-8")) if index_file.is_file() else {}
        config_files = {
            name: self.path / name / "config.json" for name, part in index.items() if part in EDITABLE_COMPONENTS
        }
        return {name: json.loads(path.read_text("utf-8")) for name, path in config_files.items() if path.is_file()}


class RegisteredModels(Protocol):
    """Reads the registrations in the database."""

    def __call__(self, model_id: str | None = None) -> Mapping[str, RegisteredModel]:
        """Return the registered models by id: all, or the one with this id."""


def no_registrations(model_id: str | None = None) -> Mapping[str, RegisteredModel]:
    """Return no registrations."""
    return {}


class ModelRegistry:
    """Finds base models: in the database, in a setting, or in `models_dir`.

    A path of the settings wins over a registered one. What was registered for the same path completes it.
    """

    def __init__(
        self,
        configured: Mapping[str, Path],
        folder: Path | None = None,
        load_registered: RegisteredModels = no_registrations,
    ) -> None:
        self._configured = dict(configured)
        self._folder = folder
        self._load_registered = load_registered
        self._cache: dict[str, tuple[float, RegisteredModel]] = {}

    def configured(self) -> dict[str, Path]:
        """Return the path of each model of the settings, by id."""
        in_folder = {path.stem if path.is_file() else path.name: path for path in self._files_in_folder()}
        return {name: path for name, path in (in_folder | self._configured).items() if _is_model(name, path)}

    def all(self) -> list[RegisteredModel]:
        """Return every model that is registered, or exists where the settings say, by id."""
        registered, configured = self._load_registered(), self.configured()
        names = sorted(registered.keys() | configured.keys())
        return [_combine(name, configured.get(name), registered.get(name)) for name in names]

    def get(self, model_id: str) -> RegisteredModel:
        """Return the model, from the cache if it was looked up recently and still exists. Raises `UnknownModel`."""
        cached_at, model = self._cache.get(model_id, (-math.inf, None))
        if model is None or time.monotonic() - cached_at > CACHE_SECONDS or not _is_model(model_id, model.path):
            model = self._look_up(model_id)
            self._cache[model_id] = time.monotonic(), model
        return model

    def get_admitted(self, model_id: str) -> RegisteredModel:
        """Return a model that may be edited and served. Raises `UnknownModel`, `ModelNotAdmitted`."""
        model = self.get(model_id)
        if model.status != "admitted":
            raise ModelNotAdmitted(
                f'The model "{model_id}" is {model.status}.',
                field="model",
                remedy=f"GET /v1/models/{model_id} says why, or when it is admitted.",
            )
        return model

    def forget(self, model_id: str) -> None:
        """Look the model up again, because its registration was changed here."""
        self._cache.pop(model_id, None)

    def _look_up(self, model_id: str) -> RegisteredModel:
        registered = self._load_registered(model_id).get(model_id)
        configured = self._configured.get(model_id) or (self._folder and self._find_in_folder(model_id))
        configured = configured if configured and _is_model(model_id, configured) else None
        if configured or registered:
            return _combine(model_id, configured, registered)
        known = [model.id for model in self.all()]
        raise UnknownModel(
            f'No model "{model_id}" is registered.',
            field="model",
            remedy=f"{did_you_mean(model_id, known)}Registered models: {', '.join(known) or 'none'}.",
        )

    def _files_in_folder(self) -> Iterator[Path]:
        yield from self._folder.iterdir() if self._folder else ()

    def _find_in_folder(self, model_id: str) -> Path | None:
        candidates = (self._folder / model_id, self._folder / (model_id + SINGLE_FILE_SUFFIX)) if self._folder else ()
        return next((path for path in candidates if _is_model(model_id, path)), None)


def files_below(folder: Path) -> dict[str, Path]:
    """Return every file of a folder, by its path relative to it."""
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}


def _combine(model_id: str, configured: Path | None, registered: RegisteredModel | None) -> RegisteredModel:
    if configured is None:
        assert registered, "a model is registered or configured"
        return registered
    return registered if registered and registered.path == configured else RegisteredModel(model_id, configured)


def _is_model(name: str, path: Path) -> bool:
    is_model = (path / "model_index.json").is_file() or (path.suffix == SINGLE_FILE_SUFFIX and path.is_file())
    return bool(MODEL_ID.fullmatch(name)) and is_model
