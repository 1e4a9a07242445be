"""A fake of `editor.jobs.dry_run`, which predicts nothing."""

from api_schemas.plans import Plan, PlanEstimate
from tests.fakes import editor
from tests.fakes.editor import ArtifactFile, JobContext, finished, write_snapshot

PHASES = ("plan",)

__all__ = ["PHASES", "JobContext", "artifacts", "finished", "run_phase", "verdict", "write_snapshot"]


def run_phase(phase: str, context: JobContext) -> None:
    editor.run_phase(phase, context)
    plan = Plan(
        request=context.request,
        request_digest=context.request.digest(),
        removals=[],
        edits=[],
        conflicts=[],
        estimate=PlanEstimate(images=8, seconds=None),
    )
    (context.workdir / "plan.json").write_text(plan.model_dump_json())


def artifacts(context: JobContext) -> tuple[ArtifactFile, ...]:
    return (ArtifactFile("plan.json", context.workdir / "plan.json", "application/json", "plan"),)


def verdict(context: JobContext) -> None:
    return None
