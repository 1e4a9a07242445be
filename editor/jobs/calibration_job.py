"""A calibration as a job: calibrate a base model in the job's work folder, and list the files to publish."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from api_schemas.calibrations import CalibrationTask
from api_schemas.features import FEATURE_IMAGES, FEATURES_FILE
from api_schemas.jobs import InstrumentFigures
from api_schemas.plans import PlanEstimate
from editor.generation.warm_pipelines import WarmPipelines
from editor.io.atomic import write_bytes
from editor.io.progress import report_fraction, report_to
from editor.jobs.calibration import GENERATING, RECORDING, CalibrationOptions
from editor.jobs.calibration_card import CARD_FILE, render_card
from editor.jobs.context import JobProgress, ignore_estimate
from editor.jobs.local_calibration import calibrate_model
from editor.judging.feature_scores.calibration import (
    CALIBRATION_FILE,
    DIFFC_FILES,
    SAE_FILES,
    Calibration,
)
from editor.publishing.export import MEDIA_TYPES, ArtifactFile

if TYPE_CHECKING:
    from editor.generation.sampling import SharedCache
    from editor.prompts import Profile

PHASE = "calibrate"
KIND = "calibration"
"""The kind of the published files."""


@dataclass(frozen=True)
class CalibrationContext:
    """The inputs of a calibration job, as the worker provides them."""

    task: CalibrationTask
    model_dir: Path
    workdir: Path
    """A job that is started again with the same folder resumes where it stopped."""
    cache_dir: Path
    """Images of unedited models, shared by all jobs."""
    progress: JobProgress
    shared_images: "SharedCache | None" = None
    """Images of unedited models that workers on other machines have generated too."""
    warm: WarmPipelines = field(default_factory=WarmPipelines)
    """Loads the pipeline; a worker's keeps it for the next job."""
    components: Path | None = None
    """A folder with what the model lacks to generate images."""
    profile: "Profile | None" = None
    """Used instead of the model's own."""
    time_limit: float | None = None
    """Seconds that the job may take. A calibration that would take longer is refused before anything is generated."""
    report_estimate: Callable[[PlanEstimate], object] = ignore_estimate
    """Called with images, time and memory before anything is generated."""

    def report(self, fraction: float) -> None:
        """Report the finished fraction of the calibration, and what is being done."""
        done = {"generating reference images": GENERATING, "recording activations": GENERATING + RECORDING}
        message = next((name for name, end in done.items() if fraction < end), "training the instruments")
        self.progress(PHASE, fraction, message)


@dataclass(frozen=True)
class CalibratedModel:
    """The result of a calibration job."""

    digest: str
    """Digest of the base model's weights."""
    judge: str
    figures: list[InstrumentFigures]
    files: tuple[ArtifactFile, ...]


def calibrate(context: CalibrationContext) -> CalibratedModel:
    """Calibrate the base model. Raises ExpungeError: the model, the judge or the device cannot be used."""
    task = context.task
    options = CalibrationOptions(
        objects=task.objects,
        images=task.images,
        seed=task.seed,
        latents=task.latents,
        training_steps=task.training_steps,
    )
    with report_to(context.report):
        calibration, folder = calibrate_model(
            context.model_dir,
            options,
            steps=task.steps,
            guidance=task.guidance,
            cache=context.cache_dir,
            out=context.workdir / "calibration",
            components=context.components,
            profile=context.profile,
            shared_images=context.shared_images,
            warm=context.warm,
            time_limit=context.time_limit,
            progress=report_fraction,
            report_estimate=context.report_estimate,
        )
    measured = figures(calibration)
    write_bytes(folder / CARD_FILE, render_card(task.model, calibration, measured).encode())
    return CalibratedModel(calibration.model, calibration.judge, measured, list_files(calibration, folder))


def figures(calibration: Calibration) -> list[InstrumentFigures]:
    """Return what was measured of the instruments of each kind of concept."""
    return [
        InstrumentFigures(
            kind=sae.kind,
            known=len(calibration.known(sae.kind)),
            unknown=sum(not concept.known for concept in calibration.concepts if concept.kind == sae.kind),
            module=sae.module,
            unexplained_variance=sae.unexplained_variance,
            probe_accuracy=sae.probe_accuracy,
            diffc_accuracy=classifier.accuracy,
        )
        for sae, classifier in zip(calibration.autoencoders, calibration.classifiers, strict=True)
    ]


def list_files(calibration: Calibration, folder: Path) -> tuple[ArtifactFile, ...]:
    """Return the files that feature scores read, the features of each autoencoder and the card, the record last.

    Recordings and checkpoints are left out.
    """
    published = *SAE_FILES, FEATURE_IMAGES, FEATURES_FILE
    names = [f"{sae.folder}/{name}" for sae in calibration.autoencoders for name in published]
    names += [f"{classifier.folder}/{name}" for classifier in calibration.classifiers for name in DIFFC_FILES]
    return tuple(
        ArtifactFile(name, folder / name, MEDIA_TYPES[Path(name).suffix], KIND)
        for name in [*names, CARD_FILE, CALIBRATION_FILE]
    )
