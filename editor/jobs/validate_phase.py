"""The validate phase: draw before and after, judge until every gate is settled, and keep sample sheets."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from pydantic import RootModel

from api_schemas.gates import Policy
from api_schemas.report import SamplerRecord, Validation, Verdict
from editor.generation.config import Sampler, native_precision
from editor.generation.sampling import ImageCache, load_pipeline
from editor.io.atomic import write_bytes
from editor.io.plotting import Picture
from editor.jobs.attack_phase import run_attacking
from editor.jobs.context import JobContext, keep
from editor.jobs.edit_phase import edited, updates
from editor.jobs.trace_phase import GATES
from editor.judging.encoder_drift import measure_drift
from editor.judging.evaluation import GroupEvaluation, ImagePairGenerator, plan_evaluations, run_evaluations
from editor.judging.gates import combine_verdicts
from editor.judging.policies import resolve_policy
from editor.judging.prompt_groups import request_groups
from editor.judging.sample_sheets import make_sample_sheets
from editor.judging.verdict import make_validation
from editor.ledger import all_active_removals

MaybeValidation = RootModel[Validation | None]


def run_validate(context: JobContext) -> None:
    """Draw, judge, keep the sheets. Images are kept as they are drawn: a job that was killed goes on where it was."""
    asked = context.request.validation
    if not asked.enabled:
        keep(context, "validate", MaybeValidation(None))
        return
    policy, trials, easel = gates(context), planned_trials(context), easel_of(context)
    seeds = [context.request.seed + i for i in range(asked.seeds)]
    tick, level = context.tick("validate", "drawing"), 1 - policy.confidence
    drawn = run_evaluations(trials, context.judge, easel, seeds, level, asked.sequential, tick)
    record = SamplerRecord(scheduler=type(easel.pipeline.scheduler).__name__, seeds=seeds, **asdict(easel.sampler))
    moved = measure_drift(easel.pipeline, easel.updates, [trial.group for trial in trials])
    found = make_validation(trials, drawn, context.judge, record, policy, asked.policy, moved)
    asked_for = [prompt for trial in trials if trial.group.name == "target" for prompt in trial.scored_group.prompts]
    run_attacking(context, easel, drawn, asked_for, context.tick("validate", "attacking"))
    keep_pictures(
        context.workdir / "sheets", make_sample_sheets([trial.scored_group for trial in trials], drawn, seeds[0])
    )
    keep(context, "validate", MaybeValidation(found))


def gates(context: JobContext) -> Policy:
    """As they were fixed in the first phase."""
    path = context.result(GATES)
    return (
        Policy.model_validate_json(path.read_bytes()) if path.is_file() else resolve_policy(context.request.validation)
    )


def planned_trials(context: JobContext) -> list[GroupEvaluation]:
    """The prompts of each group, and what they must show."""
    asked = context.request.validation
    removed = all_active_removals(context.removals, context.entries, edited(context).ledger, context.builder)
    groups = request_groups(
        context.builder, context.judge, context.removals, asked.retain_prompts, removed, prompts=asked.prompts
    )
    return plan_evaluations(groups, gates(context).gates, context.request.seed)


def easel_of(context: JobContext) -> ImagePairGenerator:
    """The model before and after, with the images that are there already."""
    asked = context.request.validation
    sampler = Sampler(asked.steps, asked.guidance, native_precision())
    before = ImageCache(context.cache_dir / "images", context.model_digest)
    after = ImageCache(context.workdir / "images", context.job_id)
    return ImagePairGenerator(load_pipeline(context.model_dir), updates(context), sampler, before, after)


def validation_of(context: JobContext) -> Validation | None:
    """The validate phase's result."""
    return MaybeValidation.model_validate_json(context.result("validate").read_bytes()).root


def verdict(context: JobContext) -> Verdict | None:
    """What the gates add up to; None without validation."""
    validation = validation_of(context)
    return combine_verdicts([check.outcome for check in validation.checks]) if validation else None


def refused(context: JobContext) -> str | None:
    """Why the weights are not published: the verdict is not what the policy asks for. None: they are."""
    validation = validation_of(context)
    if validation is None or validation.publish_policy == "always" or verdict(context) == "passed":
        return None
    return f"No weights were published: the verdict is {verdict(context)}, and the policy publishes only what passed."


Captions = RootModel[list[tuple[str, str, str]]]
"""Name, caption and alternative text of kept pictures."""


def keep_pictures(folder: Path, pictures: Sequence[Picture]) -> None:
    """Write pictures and their captions."""
    for picture in pictures:
        write_bytes(folder / f"{picture.name}.png", picture.png)
    captions = Captions([(picture.name, picture.caption, picture.alt) for picture in pictures])
    write_bytes(folder / "captions.json", captions.model_dump_json().encode())


def kept_pictures(folder: Path) -> list[Picture]:
    """Read them back; none where nothing was drawn."""
    path = folder / "captions.json"
    captions = Captions.model_validate_json(path.read_bytes()).root if path.is_file() else []
    return [Picture(name, (folder / f"{name}.png").read_bytes(), caption, alt) for name, caption, alt in captions]
