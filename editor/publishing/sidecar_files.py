"""What must lie beside an edited weights file so that it loads: its configuration, its index, its other shards."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from editor.checkpoints.safe_paths import inside
from editor.io.atomic import replacing, write_bytes
from editor.publishing.overlay import copy

INDEX = "*.safetensors.index*.json"


def companions(model: Path, edited: Sequence[str]) -> Iterator[str]:
    """Paths inside the model of the files that belong to the ``edited`` ones, each once.

    Args:
        model: the model's folder.
        edited: weights files by their paths inside it.

    Raises:
        CheckpointError: one of them is a link out of the folder.
    """
    for name in named_companions(model, edited):
        inside(model, model / name)
        yield name


def named_companions(model: Path, edited: Sequence[str]) -> Iterator[str]:
    """:func:`companions`, wherever they lead."""
    folders = dict.fromkeys(PurePosixPath(name).parent for name in edited)
    for folder in folders:
        if (model / folder / "config.json").is_file():
            yield (folder / "config.json").as_posix()
        for index in sorted((model / folder).glob(INDEX)):
            shards = {(folder / PurePosixPath(shard).name).as_posix() for shard in shards_of(index)}
            if not shards.isdisjoint(edited):
                yield (folder / index.name).as_posix()
                yield from sorted(shards.difference(edited))


def shards_of(index: Path) -> set[str]:
    """The files that an index names."""
    return set(json.loads(index.read_text())["weight_map"].values())


def write_companions(model: Path, edited: Sequence[str], out: Path) -> None:
    """Copy them."""
    for name in companions(model, edited):
        source = model / name
        if source.suffix == ".json":
            write_bytes(out / name, source.read_bytes())
            continue
        with source.open("rb") as shard, replacing(out / name) as target:
            copy(shard, target, 0, source.stat().st_size)
