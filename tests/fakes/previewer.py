"""A fake of `editor.jobs.preview` that takes milliseconds. A prompt that starts with `crash` raises."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from api_schemas.previews import PREVIEW_SIDES, PreviewTask, preview_image_name
from tests.fakes.editor import ArtifactFile

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8cfc0000003010100c9fe92ef0000000049454e44ae426082"
)
"""A red pixel."""


@dataclass(frozen=True)
class PreviewContext:
    task: PreviewTask
    model_dir: Path
    change: Path
    workdir: Path
    progress: Callable[[str, float, str], None]
    components: Path | None = None
    warm: object = None


def generate(context: PreviewContext) -> tuple[ArtifactFile, ...]:
    if context.task.prompt.startswith("crash"):
        raise RuntimeError(context.task.prompt)
    assert context.change.is_dir() if context.task.steering else context.change.is_file()
    context.progress("generate", 0.5, "generating images")
    names = [preview_image_name(seed, side) for seed in context.task.seeds for side in PREVIEW_SIDES]
    for name in names:
        (context.workdir / name).write_bytes(PNG)
    return tuple(ArtifactFile(name, context.workdir / name, "image/png", "preview") for name in names)
