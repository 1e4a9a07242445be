"""A job from end to end: its phases are functions of values, and one store keeps their results.

The worker runs a job phase by phase through the functions of this module, `revocation` or `dry_run`; see
`worker.job_protocol`. ``expunge erase`` uses `EraseJob` directly.
"""

from typing import Any

from api_schemas.report import Verdict
from editor.jobs.context import JobContext, JobProgress, judge_folder
from editor.jobs.erase import EraseJob
from editor.ledger.snapshot import write_snapshot
from editor.publishing import export
from editor.publishing.export import ArtifactFile

__all__ = [
    "PHASES",
    "EraseJob",
    "JobContext",
    "JobProgress",
    "artifacts",
    "finished",
    "judge_folder",
    "run_phase",
    "solved_parameters",
    "verdict",
    "write_snapshot",
]

PHASES: tuple[str, ...] = ("trace", "edit", "validate", "publish")


def run_phase(phase: str, context: JobContext) -> None:
    """Run one phase, unless its result is stored already."""
    job = EraseJob(context)
    {"trace": job.trace, "edit": job.edit, "validate": job.validate, "publish": job.publish}[phase]()


def finished(phase: str, context: JobContext) -> bool:
    """Whether the result of a phase is stored."""
    return EraseJob(context).is_finished(phase)


def artifacts(context: JobContext) -> tuple[ArtifactFile, ...]:
    """Return every file of the bundle, the report last."""
    return export.list_artifacts(context.out)


def solved_parameters(context: JobContext) -> list[dict[str, Any]]:
    """Return what was found for each removal that the job adds to its ledger."""
    joined = EraseJob(context).final_ledger()
    return [entry.parameters.model_dump(mode="json") for entry in joined.entries] if joined else []


def verdict(context: JobContext) -> Verdict | None:
    """Return the verdict of the published report; None without validation."""
    return export.read_report(context.out).verdict
