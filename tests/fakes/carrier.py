"""A fake of `editor.jobs.carry`: publishes the files of the fake editor, with the delta of the other edit."""

import json
from pathlib import Path

from editor.errors import PublishingError
from tests.fakes import editor
from tests.fakes.editor import JobContext


def carry(context: JobContext, source: Path) -> None:
    if context.request.metadata.get("carry") in ("refuse", f"refuse {context.request.model}"):
        raise PublishingError("The model has other tensors.", field="model", remedy="Use the model that was edited.")
    assert json.loads((source / "overlays.json").read_text())
    (context.workdir / "runs").write_text(editor.CARRIED)
    editor._write(context)
    delta = (source / "delta.safetensors").read_bytes()
    assert (context.workdir / "out" / "delta.safetensors").read_bytes() == delta
