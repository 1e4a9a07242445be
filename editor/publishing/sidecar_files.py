"""The files that an edited weights file needs next to it to load: configuration, index, other shards."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from editor.checkpoints.safe_paths import check_inside
from editor.io.atomic import open_atomic, write_bytes
from editor.publishing.overlay import copy_range

INDEX_PATTERN = "*.safetensors.index*.json"


def sidecar_files(model: Path, edited: Sequence[str]) -> Iterator[str]:
    """Yield the sidecar files of the ``edited`` ones once each, as paths inside the model.

    Args:
        model: the model's folder.
        edited: weights files, as paths inside it.

    Raises:
        CheckpointError: a sidecar file is a link out of the folder.
    """
    for name in list_sidecars(model, edited):
        check_inside(model, model / name)
        yield name


def list_sidecars(model: Path, edited: Sequence[str]) -> Iterator[str]:
    """Yield the sidecar files without checking links; see :func:`sidecar_files`."""
    folders = dict.fromkeys(PurePosixPath(name).parent for name in edited)
    for folder in folders:
        if (model / folder / "config.json").is_file():
            yield (folder / "config.json").as_posix()
        for index in sorted((model / folder).glob(INDEX_PATTERN)):
            shards = {(folder / PurePosixPath(shard).name).as_posix() for shard in shard_names(index)}
            if not shards.isdisjoint(edited):
                yield (folder / index.name).as_posix()
                yield from sorted(shards.difference(edited))


def shard_names(index: Path) -> set[str]:
    """Return the shards that an index names."""
    return set(json.loads(index.read_text())["weight_map"].values())


def write_sidecar_files(model: Path, edited: Sequence[str], out: Path) -> None:
    """Copy the sidecar files of the ``edited`` ones."""
    for name in sidecar_files(model, edited):
        source = model / name
        if source.suffix == ".json":
            write_bytes(out / name, source.read_bytes())
            continue
        with source.open("rb") as shard, open_atomic(out / name) as target:
            copy_range(shard, target, 0, source.stat().st_size)
