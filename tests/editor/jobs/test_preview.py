"""Previews apply the published delta, of every family, and leave the base model as it was."""

from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from api_schemas.edits import EditRequest
from api_schemas.previews import PreviewTask
from editor import emoji, jobs
from editor.errors import PublishingError
from editor.features.sae.embedded import UNET_SAE_FOLDER
from editor.generation.config import ImageSpec, Sampler
from editor.generation.edited_weights import edited_weights
from editor.generation.pipelines import load_pipeline
from editor.generation.sampling import generate_images
from editor.generation.warm_pipelines import WarmPipelines
from editor.jobs.preview import PreviewContext, generate
from tests.fakes.pipelines import save_model

PROMPT = "a fox, ink"
SPECS = [ImageSpec(PROMPT, 3), ImageSpec(PROMPT, 4)]


def publish(model: Path, folder: Path) -> jobs.EraseJob:
    """Publish an edit without validation."""
    removal = {"concept": "fox", "replacement": "dog face"}
    request = EditRequest.model_validate({"removals": [removal], "validation": {"enabled": False}})
    context = jobs.JobContext(
        request=request,
        model_dir=model,
        workdir=folder / "work",
        cache_dir=folder / "cache",
        progress=lambda phase, fraction, message: None,
        job_id="edit_1",
        now=datetime(2026, 1, 2, tzinfo=UTC),
    )
    job = jobs.EraseJob(context)
    job.publish()
    return job


def preview_context(job: jobs.EraseJob, folder: Path, **changes: Any) -> PreviewContext:
    options = {"prompt": PROMPT, "seeds": [3, 4], "steps": 2, "guidance": 3.0, "height": 64, "width": 64}
    task = PreviewTask.model_validate({"model": "m", "edit": "edit_1", "delta_sha256": "", "delta_size": 0, **options})
    values: dict[str, Any] = {
        "task": task,
        "model_dir": job.context.model_dir,
        "change": job.context.out / "delta.safetensors",
        "workdir": folder,
        "progress": lambda phase, fraction, message: None,
    }
    return PreviewContext(**values | changes)


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(path.read_bytes())))


@pytest.mark.parametrize("family", ["stable-diffusion-1", "sdxl", "flux"])
def test_images_are_those_of_the_base_model_and_of_the_edit(family: str, tmp_path: Path) -> None:
    model = save_model(family, tmp_path / "model")
    job = publish(model, tmp_path)
    context = preview_context(job, tmp_path / "preview")
    files = {file.name: read(file.path) for file in generate(context)}
    assert list(files) == ["3-before.png", "4-before.png", "3-after.png", "4-after.png"]
    device = context.device.resolve()
    pipeline, sampler = load_pipeline(model, dtype=device.dtype), Sampler(2, 3.0, device.precision, height=64, width=64)
    before = generate_images(pipeline, sampler, SPECS)
    with edited_weights(pipeline, job.edit().updates(job.model.checkpoint)):
        after = generate_images(pipeline, sampler, SPECS)
    for seed, expected in zip((3, 4), zip(before, after, strict=True), strict=True):
        for side, image in zip(("before", "after"), expected, strict=True):
            assert np.array_equal(files[f"{seed}-{side}.png"], image), (seed, side)
    assert not np.array_equal(before, after)


def test_interrupted_preview_resumes(tmp_path: Path) -> None:
    job = publish(emoji.WEIGHTS, tmp_path)
    stopped = []

    def stop(phase: str, fraction: float, message: str) -> None:
        stopped.append(fraction)
        if fraction > 0.5:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        generate(preview_context(job, tmp_path / "preview", progress=stop))
    seen: list[float] = []
    files = generate(preview_context(job, tmp_path / "preview", progress=lambda _, done, __: seen.append(done)))
    assert len(files) == 4
    assert 0.0 < min(done for done in seen if done) >= 0.5


def test_delta_of_another_model_is_refused(tmp_path: Path) -> None:
    job = publish(save_model("stable-diffusion-1", tmp_path / "model"), tmp_path)
    for path in (tmp_path / "model" / "text_encoder").glob("*.safetensors"):
        save_file({name: tensor + 1 for name, tensor in load_file(path).items()}, path, metadata={"format": "pt"})
    with pytest.raises(PublishingError, match="is not the file that was edited"):
        generate(preview_context(job, tmp_path / "preview"))


def test_features_are_steered_and_the_base_model_stays(tmp_path: Path) -> None:
    def context(folder: str, scale: float) -> PreviewContext:
        steering = {"kind": "object", "latents": list(range(64)), "scale": scale}
        autoencoder = {"module": "mid_block", "files": {}}
        options = {"prompt": PROMPT, "seeds": [3], "steps": 2, "guidance": 3.0}
        task = PreviewTask.model_validate({"model": "m", "steering": steering, "autoencoder": autoencoder, **options})
        return PreviewContext(
            task, emoji.WEIGHTS, UNET_SAE_FOLDER / "mid_block", tmp_path / folder, lambda *_: None, warm=warm
        )

    warm = WarmPipelines()
    stronger, unchanged = (
        {file.name: read(file.path) for file in generate(context(folder, scale))}
        for folder, scale in (("stronger", 20.0), ("unchanged", 1.0))
    )
    assert list(stronger) == ["3-before.png", "3-after.png"]
    assert not np.array_equal(stronger["3-before.png"], stronger["3-after.png"])
    assert np.array_equal(unchanged["3-before.png"], stronger["3-before.png"]), "the hook was removed"
    assert np.array_equal(unchanged["3-before.png"], unchanged["3-after.png"])
