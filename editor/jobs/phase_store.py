"""Stored results of a job's phases, so that a restarted job resumes at the phase that was interrupted."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast

from pydantic import BaseModel

from editor.io.atomic import write_bytes

Result = TypeVar("Result", bound=BaseModel)


class PhaseStore:
    """The results of one job's phases, one JSON file each. Files are written atomically and read at most once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._loaded: dict[str, BaseModel] = {}

    def path(self, phase: str) -> Path:
        """Return the file of a phase's result. If it exists, the phase is finished."""
        return self.folder / f"{phase}.json"

    def run(self, phase: str, result_type: type[Result], compute: Callable[[], Result]) -> Result:
        """Return the stored result of a phase. If there is none, compute it and store it."""
        if phase not in self._loaded:
            path = self.path(phase)
            if path.is_file():
                self._loaded[phase] = result_type.model_validate_json(path.read_bytes())
            else:
                self._loaded[phase] = compute()
                write_bytes(path, self._loaded[phase].model_dump_json().encode())
        return cast(Result, self._loaded[phase])
