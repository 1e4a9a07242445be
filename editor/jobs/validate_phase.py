"""The validate phase: generate images with the base and the edited model, evaluate the gates, attack the edit."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from itertools import cycle, islice
from pathlib import Path

from api_schemas.edits import EditRequest
from api_schemas.gates import Policy
from api_schemas.report import SamplerRecord, Verdict
from editor.generation.batch_size import batch_size_of
from editor.generation.config import Image, ImageSpec
from editor.io.progress import ProgressCallback, SubProgress, no_progress, report_fraction, report_to
from editor.jobs.attack_phase import attack_contexts, run_detectors, score_all_features
from editor.jobs.model import Model
from editor.jobs.results import ValidationResult
from editor.judging.attacks import load_attacks, run_attacks
from editor.judging.comparison import pack_images
from editor.judging.deciding import ALL_PROMPTS, Deciding, without_prompts
from editor.judging.encoder_drift import measure_drift
from editor.judging.evaluation import GroupEvaluation, plan_evaluations, run_evaluations
from editor.judging.gates import combine_verdicts, decide_gates
from editor.judging.image_pairs import ImagePairGenerator
from editor.judging.judge import Judge
from editor.judging.likeness import REFERENCE_IMAGES
from editor.judging.prompt_groups import request_groups
from editor.judging.recognisers import Recogniser, removal_recogniser
from editor.judging.recognition import Recognition, plan_recognised_groups
from editor.judging.sample_sheets import make_sample_sheets
from editor.judging.verdict import make_validation
from editor.prompts import ResolvedRemoval

REFERENCE_SEED = 1_000_000
"""Added to the seeds of reference images, so that none of them is evaluated."""
DRAWING_SHARE, ATTACKING_SHARE, SCORING_SHARE = 0.6, 0.3, 0.1
"""Shares of the phase's progress."""


def open_evaluations(
    request: EditRequest,
    model: Model,
    removals: Sequence[ResolvedRemoval],
    removed: Sequence[ResolvedRemoval],
    policy: Policy,
    judge: Judge,
    images: ImagePairGenerator,
) -> tuple[list[GroupEvaluation], Recognition]:
    """Return the groups that evaluate an edit, and the names that are left out of them; see :func:`run_validate`."""
    options = request.validation
    plan = partial(
        request_groups,
        *(model.prompts, judge, removals, options.retain_prompts, removed, options.prompts),
        top_up=options.top_up if options.sequential else 1,
    )
    groups, recognition = plan_recognised_groups(plan, judge, model.prompts, removed, partial(base_images, images))
    recognisers = find_recognisers(request, model, removals, images)
    return plan_evaluations(groups, policy.gates, request.seed, recognisers, recognition.minimum), recognition


def run_validate(
    request: EditRequest,
    model: Model,
    removals: Sequence[ResolvedRemoval],
    removed: Sequence[ResolvedRemoval],
    policy: Policy,
    judge: Judge,
    images: ImagePairGenerator,
    calibrations: Path,
    progress: Callable[[str], ProgressCallback],
    deciding: Deciding = ALL_PROMPTS,
) -> ValidationResult:
    """Evaluate the edit against the policy's gates, then run the requested attacks, detectors and feature scores.

    Args:
        removed: all concepts that the edited weights no longer generate, the ledger's included.
        images: generates images with the base and the edited model. It caches them, so an interrupted validation continues
            where it stopped.
        calibrations: a folder with the calibration of each calibrated model, by its digest.
        progress: from a message to the callback that reports finished fractions under it.
        deciding: which prompts decide, at which seeds and which error.
    """
    options = request.validation
    with report_to(SubProgress(progress("measuring the judge"), 0.0, 0.0)):
        planned, recognition = open_evaluations(request, model, removals, removed, policy, judge, images)
    evaluations = without_prompts(planned, deciding.left_out)
    confidence = 1 - deciding.error_share * (1 - policy.confidence)
    seeds = [request.seed + deciding.seed_offset + i for i in range(options.seeds)]
    with report_to(SubProgress(progress("drawing"), 0.0, DRAWING_SHARE)):
        generated = run_evaluations(
            evaluations, judge, images, seeds, 1 - confidence, options.sequential, report_fraction
        )
    sampler = sampler_record(images, seeds)
    record = partial(make_validation, evaluations, generated, judge, sampler, policy, confidence, options.policy)
    left_out = recognition.record(confidence)
    if deciding.gates_only and decided_verdict(evaluations, confidence) != "passed":
        return ValidationResult(validation=record(recognition=left_out))
    with report_to(SubProgress(progress("reading the prompts"), DRAWING_SHARE, 0.0)):
        moved = measure_drift(images.pipeline, images.updates, [evaluation.group for evaluation in evaluations])
    evaluated = [evaluation.scored_group for evaluation in evaluations if evaluation.scored_count]
    targets = [prompt for group in evaluated if group.name == "target" for prompt in group.prompts]
    needs_contexts = bool(load_attacks(options.attacks)) or options.features
    contexts = attack_contexts(model, removals, removed, judge, images) if needs_contexts else []
    with report_to(SubProgress(progress("attacking"), DRAWING_SHARE, ATTACKING_SHARE)):
        attacks = run_attacks(contexts, options.attacks, request.seed)
    with report_to(SubProgress(progress("scoring"), DRAWING_SHARE + ATTACKING_SHARE, SCORING_SHARE)):
        detectors = run_detectors(options.detectors, generated, targets)
        features = score_all_features(model, contexts, request.seed, calibrations) if options.features else None
    return ValidationResult(
        validation=record(drift=moved, recognition=left_out),
        attacks=attacks,
        detectors=detectors,
        features=features,
        sheets=make_sample_sheets(evaluated, generated, seeds[0]),
        comparison=None if request.withhold_names else pack_images(judge, evaluated, generated, seeds),
    )


def decided_verdict(evaluations: Sequence[GroupEvaluation], confidence: float) -> Verdict:
    """Return the verdict over all gates."""
    evidence = [one for evaluation in evaluations for one in evaluation.evidence]
    return combine_verdicts(decide_gates(evidence, confidence))


def sampler_record(images: ImagePairGenerator, seeds: Sequence[int]) -> SamplerRecord:
    """Describe for the report how the images were generated, and which batch sizes did not fit the memory."""
    size = batch_size_of(images.pipeline)
    return SamplerRecord(
        scheduler=type(images.pipeline.scheduler).__name__,
        seeds=list(seeds),
        batch_size=size.images,
        out_of_memory=size.exceeded,
        **asdict(images.sampler),
    )


def base_images(images: ImagePairGenerator, specs: Sequence[ImageSpec]) -> list[Image]:
    """Return images of the base model, from the cache where it has them."""
    found = images.cached_images(images.before, list(dict.fromkeys(specs)), no_progress)
    return [found[spec] for spec in specs]


def find_recognisers(
    request: EditRequest, model: Model, removals: Sequence[ResolvedRemoval], images: ImagePairGenerator
) -> dict[int, Recogniser]:
    """Return what recognises each removed concept that the zero-shot judge does not, by index of the removal."""

    def references(removal: ResolvedRemoval) -> Sequence[Image]:
        contexts = model.prompts.contexts(removal.concept.kind, removal.concept.subject)
        prompts = [phrase.text() for phrase in contexts if not phrase.style and model.prompts.fits(phrase.text())]
        specs = [
            ImageSpec(prompt, REFERENCE_SEED + request.seed + i)
            for i, prompt in enumerate(islice(cycle(prompts), REFERENCE_IMAGES))
        ]
        return base_images(images, specs)

    found = {i: removal_recogniser(removal, request.validation, references) for i, removal in enumerate(removals)}
    return {index: recogniser for index, recogniser in found.items() if recogniser}
