"""A fake of `editor.jobs.dry_run`: it expands each concept to its names and a plural, and predicts two changes."""

from api_schemas.edits import Removal
from api_schemas.plans import Plan, PlanEstimate, PlannedEdit, PlannedPrompt, PlannedRemoval
from api_schemas.report import ForeseenChange, NameRecord
from tests.fakes import editor
from tests.fakes.editor import ArtifactFile, JobContext, finished, write_snapshot

PHASES = ("plan",)

__all__ = ["PHASES", "JobContext", "artifacts", "finished", "run_phase", "verdict", "write_snapshot"]


def run_phase(phase: str, context: JobContext) -> None:
    editor.run_phase(phase, context)
    removals = [_plan_removal(removal) for removal in context.request.removals]
    changes = [ForeseenChange(prompt="a wolf", change=0.62), ForeseenChange(prompt="a dog face", change=0.11)]
    plan = Plan(
        request=context.request,
        request_digest=context.request.digest(),
        removals=removals,
        edits=[PlannedEdit(component="text_encoder", layers=[0], preservation=1.0, removals=[], prompts=changes)],
        conflicts=[],
        estimate=PlanEstimate(images=8, seconds=None),
    )
    (context.workdir / "plan.json").write_text(plan.model_dump_json())


def _plan_removal(removal: Removal) -> PlannedRemoval:
    names = [
        NameRecord(text=removal.concept, source="concept"),
        NameRecord(text=f"{removal.concept}s", source="plural"),
    ]
    names += [NameRecord(text=alias, source="alias") for alias in removal.aliases]
    kept = [name for name in names if name.text not in removal.exclude]
    target = removal.replacement or "animal"
    return PlannedRemoval(
        concept=removal.concept,
        kind=removal.kind,
        destination=target,
        destination_source="request",
        names=kept,
        prompts=[
            PlannedPrompt(text=text, means=f"a photo of {target}", weight=1.0)
            for text in (f"a photo of {one.text}" for one in kept)
            if text not in removal.exclude_prompts
        ],
    )


def artifacts(context: JobContext) -> tuple[ArtifactFile, ...]:
    return (ArtifactFile("plan.json", context.workdir / "plan.json", "application/json", "plan"),)


def verdict(context: JobContext) -> None:
    return None
