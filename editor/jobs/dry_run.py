"""A dry run, as a job of one phase: what a request would cover and damage. Generates no images."""

from typing import Any

from api_schemas.edits import EditOptions, EditRequest
from api_schemas.plans import Plan, PlanEstimate, PlannedEdit, PlannedPrompt, PlannedRemoval
from api_schemas.report import NameRecord, Verdict
from editor.io.progress import step
from editor.jobs.context import JobContext
from editor.jobs.erase import EraseJob
from editor.jobs.forecast import EncoderForecast, forecast
from editor.jobs.model import Model
from editor.jobs.replacements import Replacements
from editor.ledger import LedgerFolder
from editor.ledger.snapshot import write_snapshot
from editor.prompts import ResolvedRemoval
from editor.publishing.export import ArtifactFile

PHASES: tuple[str, ...] = ("plan",)
MAX_LISTED_PROMPTS = 24
"""Prompts that a plan lists, the most degraded ones."""

__all__ = [
    "PHASES",
    "JobContext",
    "artifacts",
    "finished",
    "run_phase",
    "solved_parameters",
    "verdict",
    "write_snapshot",
]


def finished(phase: str, context: JobContext) -> bool:
    """Whether the plan is stored."""
    return EraseJob(context).is_finished(phase)


def run_phase(phase: str, context: JobContext) -> None:
    """Make the plan, unless it is stored already."""
    job = EraseJob(context)
    job.phases.run("plan", Plan, lambda: run_plan(job))


def artifacts(context: JobContext) -> tuple[ArtifactFile, ...]:
    """Return the plan's file."""
    return (ArtifactFile("plan.json", EraseJob(context).phases.path("plan"), "application/json", "plan"),)


def solved_parameters(context: JobContext) -> list[dict[str, Any]]:
    """Return nothing: this job adds no removals."""
    return []


def verdict(context: JobContext) -> Verdict | None:
    """Return None: a dry run measures nothing."""
    return None


def run_plan(job: EraseJob) -> Plan:
    """Open the values that a plan needs, and make it."""
    request, ledger = job.context.request, job.context.ledger
    with job.context.reporting("plan", "planning"):
        estimate = job.estimate() if request.validation.enabled else PlanEstimate(images=0, seconds=None)
        folder = LedgerFolder(ledger, job.context.profile) if ledger else None
        return make_plan(request, job.model, job.removals, job.replacements, folder, estimate)


def make_plan(
    request: EditRequest,
    model: Model,
    removals: list[ResolvedRemoval],
    replacements: Replacements,
    folder: LedgerFolder | None,
    estimate: PlanEstimate,
) -> Plan:
    """Plan what a request would do.

    Args:
        replacements: the automatic replacements of its removals.
        folder: the ledger that the request would join.
        estimate: the cost of the validation.

    Raises:
        EditorError: the request itself would be refused.
    """
    with step(0.0, 0.9):
        profile = model.prompts.profile
        found = forecast(
            model.checkpoint, without_trace(request), folder=folder, profile=profile, replacements=replacements
        )
    compared = replacements.candidates or [[] for _ in removals]
    return Plan(
        request=request,
        request_digest=request.digest(),
        removals=[
            plan_removal(model, removal).model_copy(update={"candidates": own})
            for removal, own in zip(removals, compared, strict=True)
        ],
        edits=[plan_edit(encoder) for encoder in found.encoders],
        conflicts=found.conflicts,
        estimate=estimate,
    )


def without_trace(request: EditRequest) -> EditRequest:
    """Return the request with sites "auto" replaced by the default ones, which a trace selects in most cases."""
    if request.options.sites != "auto":
        return request
    options = EditOptions.model_validate(request.options.model_dump() | {"sites": "default"})
    return request.model_copy(update={"options": options})


def plan_removal(model: Model, removal: ResolvedRemoval) -> PlannedRemoval:
    """List the names and prompts that one removal covers."""
    prompts = model.prompts
    return PlannedRemoval(
        concept=removal.concept.name,
        kind=removal.concept.kind,
        destination=removal.destination.words,
        destination_source=removal.destination.source,
        names=[NameRecord(text=name.text, source=name.source) for name in prompts.expand(removal).names],
        prompts=[
            PlannedPrompt(text=pair.concept.text, means=pair.destination.text, weight=pair.weight)
            for pair in prompts.edit_pairs(removal)
        ],
    )


def plan_edit(encoder: EncoderForecast) -> PlannedEdit:
    """Return the forecast for one text encoder or site, with the most degraded prompts only."""
    return PlannedEdit(**{**dict(encoder), "prompts": encoder.prompts[:MAX_LISTED_PROMPTS]})
