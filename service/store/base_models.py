"""Base models on this machine. Clients refer to a model by id, never by path."""

import json
import math
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from api_schemas.suggestions import did_you_mean
from service.store.errors import UnknownModel

CACHE_SECONDS = 1.0
"""How long, in seconds, a model that was config_files is assumed to be unchanged. Every request looks one up."""
EDITABLE_COMPONENTS = (["transformers", "CLIPTextModel"], ["transformers", "CLIPTextModelWithProjection"])
"""Components of `model_index.json` that can be edited."""
LICENSE_FIELD = re.compile(r"^(license|license_name):\s*(\S.*?)\s*$", re.MULTILINE)
MODEL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class RegisteredModel:
    """A base model in diffusers format."""

    id: str
    folder: Path

    def files(self) -> dict[str, os.stat_result]:
        """Return the status of each file, by path relative to the folder."""
        paths = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return {path.relative_to(self.folder).as_posix(): path.stat() for path in paths}

    @cached_property
    def tokenizer_file(self) -> Path | None:
        """Path of `tokenizer/tokenizer.json`, or None if the model does not ship it."""
        path = self.folder / "tokenizer" / "tokenizer.json"
        return path if path.is_file() else None

    @cached_property
    def context_length(self) -> int:
        """Maximum number of tokens of a prompt, including BOS and EOS."""
        config = json.loads((self.folder / "tokenizer" / "tokenizer_config.json").read_text("utf-8"))
        return int(config["model_max_length"])

    @property
    def licence(self) -> str | None:
        """The licence that the front matter of README.md names (`license_name`, else `license`), or None."""
        card = self.folder / "README.md"
        lines = card.read_text("utf-8", "replace").splitlines() if card.is_file() else []
        head = dict(LICENSE_FIELD.findall("\n".join(lines[1 : lines.index("---", 1)]))) if "---" in lines[1:] else {}
        return head.get("license_name") or head.get("license")

    @property
    def encoders(self) -> dict[str, dict[str, Any]]:
        """The configuration of each editable text encoder, by component."""
        index = json.loads((self.folder / "model_index.json").read_text("utf-8"))
        config_files = {
            name: self.folder / name / "config.json" for name, part in index.items() if part in EDITABLE_COMPONENTS
        }
        return {name: json.loads(path.read_text("utf-8")) for name, path in config_files.items() if path.is_file()}


class ModelRegistry:
    """Finds registered models: in the database, in a setting, or as subfolders of `models_dir`."""

    def __init__(
        self,
        configured: Mapping[str, Path],
        folder: Path | None = None,
        load_registered: Callable[[], Mapping[str, Path]] = dict,
    ) -> None:
        self._configured = dict(configured)
        self._folder = folder
        self._load_registered = load_registered
        self._cache: dict[str, tuple[float, RegisteredModel]] = {}

    def all(self) -> list[RegisteredModel]:
        """Return every registered model whose folder exists, by id."""
        in_folder = {path.name: path for path in (self._folder.iterdir() if self._folder else ())}
        folders = {**in_folder, **self._load_registered(), **self._configured}
        return [RegisteredModel(name, folders[name]) for name in sorted(folders) if _is_model(name, folders[name])]

    def get(self, model_id: str) -> RegisteredModel:
        """Return the model, from the cache if it was looked up recently and still exists. Raises `UnknownModel`."""
        cached_at, model = self._cache.get(model_id, (-math.inf, None))
        if model is None or time.monotonic() - cached_at > CACHE_SECONDS or not _is_model(model_id, model.folder):
            model = self._look_up(model_id)
            self._cache[model_id] = time.monotonic(), model
        return model

    def _look_up(self, model_id: str) -> RegisteredModel:
        folder = (
            self._configured.get(model_id)
            or self._load_registered().get(model_id)
            or (self._folder and self._folder / model_id)
        )
        if folder and _is_model(model_id, folder):
            return RegisteredModel(model_id, folder)
        registered = [model.id for model in self.all()]
        raise UnknownModel(
            f'No model "{model_id}" is registered.',
            field="model",
            remedy=f"{did_you_mean(model_id, registered)}Registered models: {', '.join(registered) or 'none'}.",
        )


def _is_model(name: str, folder: Path) -> bool:
    return bool(MODEL_ID.fullmatch(name)) and (folder / "model_index.json").is_file()
