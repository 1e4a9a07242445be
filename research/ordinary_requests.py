"""Reports of ordinary requests: what a user of ``expunge erase`` gets. Tables of what the product does are read from these."""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from api_schemas.edits import EditRequest
from api_schemas.report import AuditReport
from editor.emoji.locate import embedded_model_folder
from editor.io.atomic import write_bytes
from editor.jobs.local_erasure import erase


class MeasuredReport(BaseModel):
    """A report and the wall time that it took."""

    seconds: float
    report: AuditReport


@dataclass(frozen=True)
class OrdinaryRequests:
    """Runs requests on an embedded model as ``expunge erase`` does, and stores each report once it is finished."""

    folder: Path
    """Reports by the digest of their request. Delete it to measure again after the code has changed."""
    cache: Path
    """Images of the unedited model, which all requests share."""

    def path(self, request: EditRequest) -> Path:
        """Return the file of a request's report."""
        return self.folder / f"{request.digest().removeprefix('sha256:')[:16]}.json"

    def measure(self, request: EditRequest) -> MeasuredReport:
        """Return the stored report of a request, or run it."""
        path = self.path(request)
        if not path.exists():
            write_bytes(path, self._run(request).model_dump_json().encode())
        return MeasuredReport.model_validate_json(path.read_bytes())

    def _run(self, request: EditRequest) -> MeasuredReport:
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as out:
            erasure = erase(request, embedded_model_folder(request.model), Path(out), cache=self.cache, delta_only=True)
        return MeasuredReport(seconds=time.perf_counter() - started, report=erasure.report)
