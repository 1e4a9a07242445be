"""The validate phase: draw before and after, judge, and keep sample sheets."""

from dataclasses import asdict

from pydantic import RootModel

from api_schemas.report import SamplerRecord, Validation, Verdict
from editor.jobs.context import JobContext, keep
from editor.jobs.editing import edited, updates
from editor.jobs.pictures import keep_pictures
from editor.judging.groups import all_groups
from editor.judging.sampling import ImageCache, Sampler, load_pipeline, native_precision
from editor.judging.sheets import sheets
from editor.judging.statistics import overall
from editor.judging.validation import draw_all, judged, shots_of
from editor.ledger import all_removed

MaybeValidation = RootModel[Validation | None]


def run_validate(context: JobContext) -> None:
    """Draw before and after, judge, and keep sample sheets."""
    asked = context.request.validation
    if not asked.enabled:
        keep(context, "validate", MaybeValidation(None))
        return
    removed = all_removed(context.removals, context.entries, edited(context).ledger, context.book)
    groups = all_groups(context.book, context.judge, context.removals, asked.retain_prompts, removed)
    seeds = [context.request.seed + i for i in range(asked.seeds)]
    pipeline, sampler = load_pipeline(context.model_dir), Sampler(asked.steps, asked.guidance, native_precision())
    cache = ImageCache(context.cache_dir / "images", context.model_digest)
    drawn = draw_all(
        pipeline, updates(context), cache, sampler, shots_of(groups, seeds), context.tick("validate", "drawing")
    )
    record = SamplerRecord(scheduler=type(pipeline.scheduler).__name__, seeds=seeds, **asdict(sampler))
    keep_pictures(context.workdir / "sheets", sheets(groups, drawn, seeds[0]))
    keep(context, "validate", MaybeValidation(judged(context.judge, groups, drawn, record, asked.thresholds)))


def validation_of(context: JobContext) -> Validation | None:
    """The validate phase's result."""
    return MaybeValidation.model_validate_json(context.result("validate").read_bytes()).root


def verdict(context: JobContext) -> Verdict | None:
    """What the checks add up to; None without validation."""
    validation = validation_of(context)
    return overall([check.outcome for check in validation.checks]) if validation else None
