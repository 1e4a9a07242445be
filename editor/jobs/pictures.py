"""The pictures of a job, kept with their captions between the phases."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import RootModel

from editor.publishing.atomic import write_bytes
from editor.publishing.figures import Picture

Captions = RootModel[list[tuple[str, str, str]]]
"""Name, caption and alternative text of kept pictures."""


def keep_pictures(folder: Path, pictures: Sequence[Picture]) -> None:
    """Write pictures and their captions."""
    for picture in pictures:
        write_bytes(folder / f"{picture.name}.png", picture.png)
    captions = Captions([(picture.name, picture.caption, picture.alt) for picture in pictures])
    write_bytes(folder / "captions.json", captions.model_dump_json().encode())


def kept_pictures(folder: Path) -> list[Picture]:
    """Read them back; none where nothing was drawn."""
    path = folder / "captions.json"
    captions = Captions.model_validate_json(path.read_bytes()).root if path.is_file() else []
    return [Picture(name, (folder / f"{name}.png").read_bytes(), caption, alt) for name, caption, alt in captions]
