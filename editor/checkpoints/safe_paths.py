"""Finding the files of a model: nothing outside its folder, nothing but safetensors and JSON."""

import json
import re
from pathlib import Path
from typing import Any

from editor.checkpoints.safetensors_header import PICKLE_SUFFIXES
from editor.errors import CheckpointError

SHARD_NAME = re.compile(r"-\d{5}-of-\d{5}\.safetensors$")
HUB_FOLDER = "models--"
"""A hub cache keeps ``models--OWNER--NAME/snapshots/REVISION/...`` as links into ``models--OWNER--NAME/blobs``."""


def weight_files(root: Path) -> dict[str, Path]:
    """Every safetensors file of a model by its name relative to the folder; the file itself where it is one."""
    if root.is_file():
        return {root.name: root}
    return {path.relative_to(root).as_posix(): path for path in sorted(root.rglob("*.safetensors"))}


def link_boundary(root: Path) -> Path:
    """The folder that links inside ``root`` may not leave: itself, or its ``models--*`` folder in a hub cache."""
    root = root.resolve()
    hub = [parent for parent in (root, *root.parents) if parent.name.startswith(HUB_FOLDER)]
    return hub[0] if hub else root


def check_inside(root: Path, path: Path) -> Path:
    """The path itself. Raises CheckpointError: it leads out of the model's folder, or in a circle."""
    try:
        held = path.resolve().is_relative_to(link_boundary(root))
    except (OSError, RuntimeError):  # a circle of links
        held = False
    if not held:
        raise CheckpointError(
            f"{path} is a link out of the model's folder.", field="model", remedy="Copy the file into the folder."
        )
    return path


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file, or a typed error."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path} can't be read: {error}.", field="model", remedy="Name a model's folder or its safetensors file."
        ) from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} holds no JSON object.", field="model", remedy="Fetch the model again.")
    return value


def find_weights(root: Path, folder: Path, stem: str = "model") -> list[Path]:
    """The files with a component's weights: one, or the shards that its index names; a variant where the plain one lacks.

    Raises:
        CheckpointError: there are none, or they lie outside of the model's folder.
    """
    plain = folder / f"{stem}.safetensors"
    indexes = [folder / f"{stem}.safetensors.index.json", *sorted(folder.glob(f"{stem}.safetensors.index.*.json"))]
    variants = [path for path in sorted(folder.glob(f"{stem}.*.safetensors")) if not SHARD_NAME.search(path.name)]
    for path in (plain, indexes[0], *variants, *indexes[1:]):
        if path.is_file():
            return indexed_shards(root, path) if path.suffix == ".json" else [check_inside(root, path)]
    pickles = [path.name for path in sorted(folder.glob("*")) if path.suffix in PICKLE_SUFFIXES]
    raise CheckpointError(
        f"{plain} is missing{f', beside {pickles[0]}' if pickles else ''}.",
        field="model",
        remedy="Save the model with safe_serialization=True; pickle files are never read.",
    )


def indexed_shards(root: Path, index: Path) -> list[Path]:
    """The files that an index names, which must lie beside it."""
    named = read_json(check_inside(root, index)).get("weight_map")
    names = list(named.values()) if isinstance(named, dict) else []
    if not names or not all(isinstance(name, str) and name.endswith(".safetensors") for name in names):
        raise CheckpointError(f"{index} names no safetensors files.", field="model", remedy="Fetch the model again.")
    strays = [name for name in names if Path(name).name != name]
    if strays:
        raise CheckpointError(
            f"{index} names {strays[0]}, outside of its folder.", field="model", remedy="Fetch the model again."
        )
    return [check_inside(root, index.with_name(name)) for name in sorted(set(names))]
