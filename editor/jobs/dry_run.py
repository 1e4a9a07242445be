"""A dry run as a job of one phase: what a request would cover and hurt. The same solve as the edit's; nothing is drawn."""

from pathlib import Path

from api_schemas.edits import EditOptions, EditRequest
from api_schemas.plans import Plan, PlanEstimate, PlannedEdit, PlannedPrompt, PlannedRemoval
from api_schemas.report import NameRecord, Verdict
from editor.io.atomic import write_bytes
from editor.jobs.context import JobContext
from editor.jobs.forecast import EncoderForecast, forecast
from editor.judging.prompt_groups import request_groups
from editor.ledger import LedgerFolder
from editor.ledger.snapshot import write_snapshot
from editor.prompts import ResolvedRemoval
from editor.publishing.export import ArtifactFile

PLAN = "plan.json"
PHASES: tuple[str, ...] = ("plan",)
WORST = 24
"""Prompts that are listed of those that would be hurt."""

__all__ = ["PHASES", "JobContext", "artifacts", "finished", "run_phase", "verdict", "write_snapshot"]


def finished(phase: str, context: JobContext) -> bool:
    """Whether the plan is there."""
    return (context.workdir / PLAN).is_file()


def run_phase(phase: str, context: JobContext) -> None:
    """Make it."""
    context.progress(phase, 0.0, "planning")
    write_bytes(context.workdir / PLAN, plan(context).model_dump_json().encode())


def artifacts(context: JobContext) -> tuple[ArtifactFile, ...]:
    """The plan, and nothing else."""
    return (ArtifactFile(PLAN, Path(context.workdir / PLAN), "application/json", "plan"),)


def verdict(context: JobContext) -> Verdict | None:
    """Nothing was measured."""


def plan(context: JobContext) -> Plan:
    """What the request would do.

    Raises:
        EditorError: the request itself would be refused.
    """
    folder = LedgerFolder(context.ledger) if context.ledger else None
    found = forecast(context.checkpoint, solvable(context.request), folder=folder)
    return Plan(
        request=context.request,
        request_digest=context.request.digest(),
        removals=[planned(context, removal) for removal in context.removals],
        edits=[planned_edit(one) for one in found.encoders],
        conflicts=found.conflicts,
        estimate=PlanEstimate(images=images(context), seconds=None),
    )


def solvable(request: EditRequest) -> EditRequest:
    """The request, but that sites which only a trace can tell are taken to be the first layer, where they mostly are."""
    if request.options.sites != "auto":
        return request
    options = EditOptions.model_validate(request.options.model_dump() | {"sites": [0]})
    return request.model_copy(update={"options": options})


def planned(context: JobContext, removal: ResolvedRemoval) -> PlannedRemoval:
    """What one removal covers."""
    pairs = context.builder.edit_pairs(removal)
    return PlannedRemoval(
        concept=removal.concept.name,
        kind=removal.concept.kind,
        destination=removal.destination.words,
        destination_source=removal.destination.source,
        names=[NameRecord(text=name.text, source=name.source) for name in context.builder.expand(removal).names],
        prompts=[
            PlannedPrompt(text=pair.concept.text, means=pair.destination.text, weight=pair.weight) for pair in pairs
        ],
    )


def planned_edit(found: EncoderForecast) -> PlannedEdit:
    """What happens in one text encoder."""
    return PlannedEdit(**{**dict(found), "prompts": found.prompts[:WORST]})


def images(context: JobContext) -> int:
    """How many the validation would draw: each prompt and seed before and after."""
    asked = context.request.validation
    if not asked.enabled:
        return 0
    groups = request_groups(
        context.builder, context.judge, context.removals, asked.retain_prompts, prompts=asked.prompts
    )
    return 2 * asked.seeds * len({prompt for group in groups for prompt in group.prompts})
