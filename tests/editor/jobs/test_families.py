"""A whole erasure with every family that has a CLIP text encoder: true classes, small, with random weights."""

from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

from api_schemas.attacks import ENABLED, Attacks
from api_schemas.edits import EditRequest
from editor import emoji, jobs
from editor.emoji.profile import PROFILE
from editor.errors import CheckpointError
from editor.generation import module_device, pipeline_call
from editor.generation.config import ImageSpec, Sampler
from editor.generation.pipelines import load_pipeline
from editor.generation.sampling import generate_images
from editor.jobs import validate_phase
from editor.judging import judge
from editor.publishing import bundle
from tests.fakes.pipelines import SIZES, save_model

CLIP_ENCODERS = {"stable-diffusion-2": 1, "sdxl": 2, "sd3": 2, "flux": 1}
REQUEST: dict[str, Any] = {
    "removals": [{"concept": "fox", "replacement": "dog face"}],
    "validation": {"steps": 2, "retain_prompts": 2, "prompts": 2},
}
GATED_FAMILIES = ("sd3", "flux")
"""Families whose text gate is edited by default, because they read T5 too."""
STATE_ATTACKS = {"inversion_images", "resurgence"}
"""Attacks on the states of a single text encoder."""
SPECS = [ImageSpec("a fox in the style of noto", 1), ImageSpec("a fox, ink", 2)]


OPEN_JUDGE = judge.open_judge


@cache
def shared_judge() -> judge.Judge:
    """Return the judge that all tests share, which embeds the classes once."""
    return OPEN_JUDGE(emoji.JUDGE, emoji.WEIGHTS, PROFILE)


@pytest.fixture(autouse=True)
def small_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """Generate images of 16 x 16 (FLUX's own size is 1024 x 1024), and draw no charts."""
    monkeypatch.setattr(judge, "open_judge", lambda folder, model, profile, device: shared_judge().to(device))
    monkeypatch.setattr(validate_phase, "make_sample_sheets", lambda *_: [])
    monkeypatch.setattr(bundle, "make_charts", lambda *_: [])
    monkeypatch.setattr(module_device, "native_size", lambda pipeline: (16, 16))
    monkeypatch.setattr(pipeline_call, "native_size", lambda pipeline: (16, 16))


def make_context(family: str, folder: Path, **validation: Any) -> jobs.JobContext:
    """Return the context of an erasure from a new model."""
    return jobs.JobContext(
        request=EditRequest.model_validate(REQUEST | {"validation": REQUEST["validation"] | validation}),
        model_dir=save_model(family, folder / "model"),
        workdir=folder / "work",
        cache_dir=folder / "cache",
        progress=lambda phase, fraction, message: None,
        job_id="edit_1",
        now=datetime(2026, 1, 2, tzinfo=UTC),
    )


def images(pipeline: Any, family: str) -> np.ndarray:
    size = SIZES[family]
    return np.stack(generate_images(pipeline, Sampler(2, 3.0, height=size, width=size), SPECS)).astype(int)


@pytest.mark.parametrize("family", CLIP_ENCODERS)
def test_erasure_ends_with_a_verdict_and_weights_that_load(family: str, tmp_path: Path) -> None:
    context, out = make_context(family, tmp_path), tmp_path / "out"
    job = jobs.EraseJob(context)
    report, model = job.publish(), context.model_dir
    job.deliver(out)
    components = ["text_encoder", "text_encoder_2"][: CLIP_ENCODERS[family]]
    assert report.verdict in ("passed", "failed", "inconclusive")
    assert report.validation is not None
    assert report.validation.preservation is not None
    assert report.validation.preservation.drift is not None
    assert report.validation.preservation.drift.mean > 0
    assert [trace.component for trace in report.traces] == components
    gate = ["transformer"] if family in GATED_FAMILIES else []
    assert [solve.component for solve in report.solves] == components + gate
    assert all((out / record.name).is_file() for record in report.artifacts)

    base, full, adapted = (load_pipeline(model) for _ in range(3))
    for component in components:
        encoder = getattr(full, component)
        assert not encoder.load_state_dict(
            load_file(out / component / "model.safetensors"), strict=False
        ).unexpected_keys
    if gate:
        full.transformer.load_state_dict(load_file(out / "transformer" / "diffusion_pytorch_model.safetensors"))
    adapted.load_lora_weights(out / "lora.safetensors")
    before, edited, lora = (images(pipeline, family) for pipeline in (base, full, adapted))
    assert np.abs(edited - before).mean() > 0.1, "the edit changes the images"
    assert np.abs(lora - edited).mean() <= 0.3, "the LoRA changes them as the full weights do"


def test_attacks_run_on_two_encoders_or_say_that_they_do_not(tmp_path: Path) -> None:
    quick = ENABLED.model_copy(update={"budget": 40, "images": 2})
    names = set(Attacks.model_fields) - {"plugins", "languages"}
    attacks = {name: quick.model_dump() for name in sorted(names)}
    result = jobs.EraseJob(make_context("sdxl", tmp_path, attacks=attacks)).validate()
    skipped = {attack.name: attack.skipped for attack in result.attacks if attack.skipped}
    assert {attack.name for attack in result.attacks} == names
    assert skipped.keys() == STATE_ATTACKS
    assert all("StableDiffusionXLPipeline" in str(reason) for reason in skipped.values())
    (probe,) = (attack for attack in result.attacks if attack.name == "noise_probe")
    assert len(probe.attempts) == 8, "two images at four strengths"
    assert len(probe.measures) == 8


@pytest.mark.parametrize(
    ("family", "pipeline", "encoder"),
    [
        ("pixart", "PixArtSigma", "t5"),
        ("sana", "Sana", "gemma2"),
        ("qwen-image", "QwenImage", "qwen2_5_vl"),
        ("z-image", "ZImage", "qwen3"),
        ("lumina2", "Lumina2", "gemma2"),
    ],
)
def test_a_family_without_a_clip_encoder_is_refused_with_what_reads_its_prompts(
    family: str, pipeline: str, encoder: str, tmp_path: Path
) -> None:
    with pytest.raises(
        CheckpointError, match=f"is a {pipeline}Pipeline, which reads prompts through {encoder};"
    ) as caught:
        jobs.EraseJob(make_context(family, tmp_path)).publish()
    assert "CLIP text encoders" in str(caught.value)
    assert "images can be generated" in str(caught.value.remedy)
