"""A preview as a job: images of one prompt by the base model, and with an edit's delta or steered features, at equal seeds."""

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from api_schemas.previews import PreviewSide, PreviewTask, preview_image_name
from api_schemas.validation_options import Validation
from editor.features.sae.model import load_sae
from editor.features.sae.steering import steer_group
from editor.generation.config import ImageSpec, Sampler
from editor.generation.device import DeviceSettings
from editor.generation.edited_weights import edited_weights
from editor.generation.sampling import ImageCache
from editor.generation.warm_pipelines import WarmPipelines
from editor.io.progress import SubProgress
from editor.jobs.context import JobProgress
from editor.jobs.model import open_model
from editor.jobs.sampler_settings import choose_sampler
from editor.publishing.apply import read_edited_tensors
from editor.publishing.export import ArtifactFile

PHASE = "generate"
KIND = "preview"
"""The kind of the published files."""


@dataclass(frozen=True)
class PreviewContext:
    """The inputs of a preview job, as the worker provides them."""

    task: PreviewTask
    model_dir: Path
    change: Path
    """The edit's published delta, or the folder of the autoencoder whose features are steered."""
    workdir: Path
    """Images are cached here and nowhere else: the prompt may name people. A job that is started again resumes."""
    progress: JobProgress
    components: Path | None = None
    """A folder with what the model lacks to generate images."""
    device: DeviceSettings = field(default_factory=DeviceSettings.from_environment)
    warm: WarmPipelines = field(default_factory=WarmPipelines)
    """Loads the pipeline, or has it in memory since the last job."""

    def report(self, fraction: float) -> None:
        """Report the finished fraction of the job."""
        self.progress(PHASE, fraction, "generating images")


def generate(context: PreviewContext) -> tuple[ArtifactFile, ...]:
    """Generate the images, and return their files. The pipeline ends with the tensors of the base model.

    Raises:
        PublishingError: the delta belongs to another model.
        FeatureError: the autoencoder cannot be read, or belongs to another model.
        ExpungeError: the model or the device cannot be used.
    """
    task, folder = context.task, context.model_dir
    context.progress(PHASE, 0.0, "reading the model")
    updates = [] if task.steering else read_edited_tensors(folder, context.change)
    device = context.device.resolve()
    pipeline = context.warm.load(folder, context.components, device)
    options = Validation(steps=task.steps, guidance=task.guidance, height=task.height, width=task.width)
    sampler = choose_sampler(options, open_model(folder).prompts.profile, pipeline, device)
    before = generate_side(context, pipeline, sampler, "before", 0.0)
    with steer(context, pipeline) if task.steering else edited_weights(pipeline, updates):
        return (*before, *generate_side(context, pipeline, sampler, "after", 0.5))


def steer(context: PreviewContext, pipeline: Any) -> AbstractContextManager[None]:
    """Return a context in which the pipeline's features are steered as the task says. Raises FeatureError."""
    steering, autoencoder = context.task.steering, context.task.autoencoder
    assert steering
    assert autoencoder
    return steer_group(pipeline, autoencoder.module, load_sae(context.change), steering.latents, steering.scale)


def generate_side(
    context: PreviewContext, pipeline: Any, sampler: Sampler, side: PreviewSide, start: float
) -> list[ArtifactFile]:
    """Generate one image per seed with the pipeline as it is."""
    cache = ImageCache(context.workdir / "images", side)
    specs = {seed: ImageSpec(context.task.prompt, seed) for seed in context.task.seeds}
    cache.generate(pipeline, sampler, list(specs.values()), SubProgress(context.report, start, 0.5))
    return [
        ArtifactFile(preview_image_name(seed, side), cache.path(cache.key(sampler, spec)), "image/png", KIND)
        for seed, spec in specs.items()
    ]
