"""The editor as the worker sees it: phases that leave their results in a folder. Loaded late: it brings torch."""

import importlib
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, cast

from api_schemas.edits import EditRequest
from api_schemas.jobs import Verdict


class ArtifactFile(Protocol):
    """A file to publish. `name` is its path inside the bundle."""

    name: str
    path: Path
    media_type: str
    kind: str


Progress = Callable[[str, float, str], None]
"""`(phase, fraction of it, message)`. May raise `JobInterrupted`."""


class NewContext(Protocol):
    """Makes what every phase is given."""

    def __call__(
        self,
        *,
        request: EditRequest,
        model_dir: Path,
        workdir: Path,
        cache_dir: Path,
        progress: Progress,
        job_id: str,
        now: datetime,
    ) -> Any:
        """The context, whose type is the editor's own business."""


class Editor(Protocol):
    """`editor.jobs`. Each phase is idempotent, and finished when its result lies in the workdir."""

    PHASES: tuple[str, ...]
    JobContext: NewContext

    def finished(self, phase: str, context: Any) -> bool:
        """Whether an earlier attempt has done this phase."""

    def run_phase(self, phase: str, context: Any) -> None:
        """Do it. Raises `EditorError`."""

    def artifacts(self, context: Any) -> tuple[ArtifactFile, ...]:
        """What the last phase made."""

    def verdict(self, context: Any) -> Verdict | None:
        """What the validation found."""


def load(module: str) -> Editor:
    """Import the editor."""
    return cast(Editor, importlib.import_module(module))
