"""A calibration from end to end on this machine."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from api_schemas.edits import Validation
from api_schemas.plans import PlanEstimate
from editor.generation.device import ComputeDevice, DeviceSettings
from editor.generation.sampling import ImageCache, SharedCache
from editor.generation.warm_pipelines import WarmPipelines
from editor.io.progress import ProgressCallback, no_progress
from editor.jobs.calibration import CalibrationOptions, CalibrationRun
from editor.jobs.calibration_cost import check_calibration_limit, estimate_calibration
from editor.jobs.context import CALIBRATIONS, COSTS, ignore_estimate, judge_folder
from editor.jobs.cost_estimate import GenerationCost, measure_cost
from editor.jobs.model import images_digest, open_model
from editor.jobs.remembered_cost import generation_place, remembered_cost
from editor.jobs.sampler_settings import choose_sampler
from editor.judging.feature_scores.calibration import Calibration
from editor.judging.judge import open_judge
from editor.prompts import Profile


def calibrate_model(
    path: Path,
    options: CalibrationOptions,
    *,
    steps: int | None = None,
    guidance: float | None = None,
    cache: Path,
    out: Path | None = None,
    components: Path | None = None,
    profile: Profile | None = None,
    device: DeviceSettings | None = None,
    shared_images: SharedCache | None = None,
    warm: WarmPipelines | None = None,
    time_limit: float | None = None,
    progress: ProgressCallback = no_progress,
    report_estimate: Callable[[PlanEstimate], object] = ignore_estimate,
) -> tuple[Calibration, Path]:
    """Calibrate a base model on this machine.

    Args:
        path: a diffusers folder or a single-file checkpoint.
        steps: sampler steps per image; None: those of the profile or the family.
        guidance: classifier-free guidance scale; None: likewise.
        cache: images of unedited models, and the default place of calibrations.
        out: the folder of the calibration; None: where edits of the model look for it.
        components: a folder with what the model lacks.
        profile: used instead of the model's own.
        shared_images: images of the model that other machines have generated too.
        warm: loads the pipeline, or has it in memory; None: it is loaded for this calibration alone.
        time_limit: seconds that the calibration may take; one that would take longer is refused.
        progress: called with the finished fraction; may raise to stop.
        report_estimate: called with images, time and memory before anything is generated.

    Returns:
        The calibration and its folder.

    Raises:
        ExpungeError: the model, the judge or the device cannot be used, or the time limit does not suffice.
    """
    model, compute = open_model(path, profile=profile), (device or DeviceSettings.from_environment()).resolve()
    folder = out or cache / CALIBRATIONS / model.digest
    pipeline = (warm or WarmPipelines()).load(path, components, compute)
    stated = Validation(steps=steps, guidance=guidance)
    run = CalibrationRun(
        folder=folder,
        pipeline=pipeline,
        builder=model.prompts,
        judge=open_judge(judge_folder(), path, model.prompts.profile, compute.torch_device),
        sampler=choose_sampler(stated, model.prompts.profile, pipeline, compute),
        images=ImageCache(cache / "images", images_digest(model, components), shared_images),
        options=options,
        progress=progress,
        model=model.digest,
    )
    if not run.is_finished:
        cost = run_cost(run, cache / COSTS, compute, stated)
        estimate = estimate_calibration(run, cost)
        check_calibration_limit(run, estimate, time_limit)
        report_estimate(estimate)
    return run.run(), folder


def run_cost(run: CalibrationRun, folder: Path, device: ComputeDevice, stated: Validation) -> GenerationCost:
    """Return the cost of an image of the base model, as validations remember it too."""
    place = generation_place(run.images.model_digest, device, stated, run.builder.profile)
    return remembered_cost(folder, place, partial(measure_cost, run.pipeline, run.sampler))
