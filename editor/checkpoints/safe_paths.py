"""Find the files of a model. Only safetensors and JSON files inside the model's folder are read."""

import json
import os
import re
from pathlib import Path
from typing import Any

from api_schemas.model_files import VARIANT_SETTING, is_model_file
from editor.checkpoints.safetensors_header import PICKLE_SUFFIXES
from editor.errors import CheckpointError

SHARD_NAME = re.compile(r"-\d{5}-of-\d{5}\.safetensors$")
HUB_FOLDER = "models--"
"""Prefix of a model's folder in the Hugging Face cache, where ``models--OWNER--NAME/snapshots/REVISION/...`` are links into
``models--OWNER--NAME/blobs``."""


def weight_files(root: Path) -> dict[str, Path]:
    """Return all safetensors files of a model, by their names relative to its folder. ``root`` may be a single file."""
    if root.is_file():
        return {root.name: root}
    return {path.relative_to(root).as_posix(): path for path in sorted(root.rglob("*.safetensors"))}


def model_files(root: Path) -> dict[str, Path]:
    """Return every file of a model by name: weights, configurations, tokenizers, model cards.

    Other files than weights are left out if they are links out of the model's folder.
    """
    if root.is_file():
        return {root.name: root}
    files = ((path.relative_to(root), path) for path in sorted(root.rglob("*")) if path.is_file())
    served = {name.as_posix(): path for name, path in files if is_model_file(name) and is_inside(root, path)}
    return dict(sorted((weight_files(root) | served).items()))


def link_boundary(root: Path) -> Path:
    """Return the folder that links inside ``root`` may not leave: ``root``, or its ``models--*`` folder in a hub cache."""
    root = root.resolve()
    hub = [parent for parent in (root, *root.parents) if parent.name.startswith(HUB_FOLDER)]
    return hub[0] if hub else root


def check_inside(root: Path, path: Path) -> Path:
    """Return the path unchanged. Raises CheckpointError if it is a link out of the model's folder, or a circular link."""
    if not is_inside(root, path):
        raise CheckpointError(
            f"{path} is a link out of the model's folder.", field="model", remedy="Copy the file into the folder."
        )
    return path


def is_inside(root: Path, path: Path) -> bool:
    """Return whether a path, with its links resolved, is in the model's folder."""
    try:
        return path.resolve().is_relative_to(link_boundary(root))
    except (OSError, RuntimeError):  # a circular link
        return False


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file. Raises CheckpointError if the file is unreadable or contains something else."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path} can't be read: {error}.", field="model", remedy="Pass a model folder or a safetensors file."
        ) from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} is not a JSON object.", field="model", remedy="Download the model again.")
    return value


def chosen_variant() -> str | None:
    """Return the variant of a base model's weights that the environment names, such as ``fp16``; None: no preference."""
    return os.environ.get(VARIANT_SETTING) or None


def find_weights(root: Path, folder: Path, stem: str = "model", variant: str | None = None) -> list[Path]:
    """Find the weight files of a component: one file, or the shards that its index lists.

    The files of ``variant`` are used if they exist, else the plain ones, else those of the first variant, such as
    ``model.fp16.safetensors``.

    Raises:
        CheckpointError: there are no weight files, or they are outside of the model's folder.
    """
    plain = folder / f"{stem}.safetensors"
    indexes = [folder / f"{stem}.safetensors.index.json", *sorted(folder.glob(f"{stem}.safetensors.index.*.json"))]
    variants = [path for path in sorted(folder.glob(f"{stem}.*.safetensors")) if not SHARD_NAME.search(path.name)]
    chosen = (
        [folder / f"{stem}.{variant}.safetensors", folder / f"{stem}.safetensors.index.{variant}.json"]
        if variant
        else []
    )
    for path in (*chosen, plain, indexes[0], *variants, *indexes[1:]):
        if path.is_file():
            return indexed_shards(root, path) if path.suffix == ".json" else [check_inside(root, path)]
    shards = [path.name for path in sorted(folder.glob(f"{stem}*.safetensors")) if SHARD_NAME.search(path.name)]
    if shards:
        raise CheckpointError(
            f"{folder} contains {shards[0]}, one of {len(shards)} shards, but no {indexes[0].name}, which lists them.",
            field="model",
            remedy="Download the index as well.",
        )
    pickles = [path.name for path in sorted(folder.glob("*")) if path.suffix in PICKLE_SUFFIXES]
    raise CheckpointError(
        f"{plain} does not exist{f'; the folder contains {pickles[0]}' if pickles else ''}.",
        field="model",
        remedy="Save the model with safe_serialization=True; pickle files are never read.",
    )


def variant_of(weights: Path) -> str | None:
    """Return the variant of a file of weights or shard, such as ``fp16`` of ``model.fp16.safetensors``; None for plain ones."""
    found = re.fullmatch(r"[^.]+\.(.+?)(-\d+-of-\d+)?\.safetensors", weights.name)
    return found[1] if found else None


def indexed_shards(root: Path, index: Path) -> list[Path]:
    """Return the files that an index lists, which must be in the same folder."""
    weight_map = read_json(check_inside(root, index)).get("weight_map")
    names = list(weight_map.values()) if isinstance(weight_map, dict) else []
    if not names or not all(isinstance(name, str) and name.endswith(".safetensors") for name in names):
        raise CheckpointError(f"{index} lists no safetensors files.", field="model", remedy="Download the model again.")
    outside = [name for name in names if Path(name).name != name]
    if outside:
        raise CheckpointError(
            f"{index} lists {outside[0]}, which is outside of its folder.",
            field="model",
            remedy="Download the model again.",
        )
    return [check_inside(root, index.with_name(name)) for name in sorted(set(names))]
