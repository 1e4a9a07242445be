"""A whole erasure with every family that can be edited: true classes, small, with random weights."""

import re
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from peft import LoraConfig, inject_adapter_in_model, set_peft_model_state_dict
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

WITHOUT_CLIP = ("chroma", "pixart", "sana", "lumina2", "qwen-image", "z-image")
CLIP_ENCODERS = {"stable-diffusion-2": 1, "sdxl": 2, "sd3": 2, "flux": 1} | dict.fromkeys(WITHOUT_CLIP, 0)
REQUEST: dict[str, Any] = {
    "removals": [{"concept": "fox", "replacement": "dog face"}],
    "validation": {"steps": 2, "retain_prompts": 2, "prompts": 2, "budget": {"rounds": 1}},
}
GATED_FAMILIES = ("sd3", "flux", *WITHOUT_CLIP)
"""Families whose text gate is edited by default, because they read T5 or a language model."""
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
    """Generate small images (FLUX's own size is 1024 x 1024), and draw no charts."""
    monkeypatch.setattr(judge, "open_judge", lambda folder, model, profile, device: shared_judge().to(device))
    monkeypatch.setattr(validate_phase, "make_sample_sheets", lambda *_: [])
    monkeypatch.setattr(bundle, "make_charts", lambda *_: [])
    for module in (module_device, pipeline_call):
        monkeypatch.setattr(module, "native_size", small_size)


def small_size(pipeline: Any) -> tuple[int, int]:
    """Return the smallest size that a pipeline generates."""
    side = 32 if type(pipeline).__name__ in ("SanaPipeline", "Lumina2Pipeline") else 16
    return side, side


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


def load_lora(pipeline: Any, file: Path) -> None:
    """Load a LoRA as diffusers does, or as PEFT does where diffusers has no loader."""
    if hasattr(pipeline, "load_lora_weights"):
        return pipeline.load_lora_weights(file)
    tensors = {name.removeprefix("transformer."): tensor for name, tensor in load_file(file).items()}
    ranks = {name: len(tensor) for name, tensor in tensors.items() if "lora_A" in name}
    rank = max(ranks.values())
    modules = [name.removesuffix(".lora_A.weight") for name in ranks]
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=rank, target_modules=modules), pipeline.transformer)
    assert not set_peft_model_state_dict(pipeline.transformer, tensors).unexpected_keys


def run_card(out: Path, model: Path) -> None:
    """Run the model card's code. It loads from the working folder, and the base model from ``BASE``."""
    card = (out / "README.md").read_text()
    for code in re.findall(r"```python\n(.*?)```", card, re.DOTALL):
        exec(code.replace('"BASE"', repr(str(model))).replace('"."', repr(str(out))), {})


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
    drift = report.validation.preservation.drift
    assert drift.mean > 0 if drift else not components, "only CLIP encoders drift"
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
    load_lora(adapted, out / "lora.safetensors")
    before, edited, lora = (images(pipeline, family) for pipeline in (base, full, adapted))
    run_card(out, model)
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


def test_attacks_through_clip_say_that_a_model_has_none(tmp_path: Path) -> None:
    quick = ENABLED.model_copy(update={"budget": 40, "images": 2}).model_dump()
    attacks = dict.fromkeys(sorted(set(Attacks.model_fields) - {"plugins", "languages"}), quick)
    result = jobs.EraseJob(make_context("pixart", tmp_path, attacks=attacks)).validate()
    reasons = {attack.name: attack.skipped for attack in result.attacks}
    assert reasons.keys() == attacks.keys()
    assert reasons["names"] is None
    assert "the model has none" in str(reasons["ring_a_bell_transfer"])


def test_a_family_without_a_known_site_is_refused_with_what_reads_its_prompts(tmp_path: Path) -> None:
    context = make_context("z-image", tmp_path)
    index = context.model_dir / "model_index.json"
    index.write_text(index.read_text().replace("ZImagePipeline", "OvisImagePipeline"))
    with pytest.raises(
        CheckpointError, match="is a OvisImagePipeline, which reads prompts through qwen3; concepts are removed from"
    ) as caught:
        jobs.EraseJob(context).publish()
    assert "images can be generated" in str(caught.value.remedy)
