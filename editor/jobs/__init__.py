"""A request from end to end, in phases that leave their results in a folder: trace, edit, validate, publish.

Each phase writes its result atomically and last, so a job that was killed resumes at the phase it was in. The worker and
``expunge erase`` both run this.
"""

from editor.jobs.context import JobContext, Progress, finished, judge_folder
from editor.jobs.edit_phase import Edited, edited, run_edit, updates
from editor.jobs.publish_phase import artifacts, deliver, published, run_publish
from editor.jobs.trace_phase import run_trace, traced
from editor.jobs.validate_phase import run_validate, validation_of, verdict
from editor.ledger.snapshot import write_snapshot

__all__ = [
    "PHASES",
    "Edited",
    "JobContext",
    "Progress",
    "artifacts",
    "deliver",
    "edited",
    "finished",
    "judge_folder",
    "published",
    "run_edit",
    "run_phase",
    "run_publish",
    "run_trace",
    "run_validate",
    "traced",
    "updates",
    "validation_of",
    "verdict",
    "write_snapshot",
]

RUN = {"trace": run_trace, "edit": run_edit, "validate": run_validate, "publish": run_publish}
PHASES: tuple[str, ...] = tuple(RUN)


def run_phase(phase: str, context: JobContext) -> None:
    """Run one phase. Running it again changes nothing but the time it takes."""
    RUN[phase](context)
