"""A whole erasure from one file: Stable Diffusion 1, SDXL and FLUX.1, with what the file lacks in a folder of components."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from api_schemas.edits import EditRequest
from editor.generation.config import ImageSpec, Sampler
from editor.generation.pipelines import load_pipeline
from editor.generation.sampling import generate_images
from editor.jobs.local_erasure import erase
from tests.editor.generation.pipelines import small_pipelines as small
from tests.editor.generation.pipelines.conftest import small_flux
from tests.editor.jobs.test_families import small_job

__all__ = ["small_flux", "small_job"]
EDITED = {
    "StableDiffusionPipeline": ["cond_stage_model.transformer.text_model."],
    "StableDiffusionXLPipeline": ["conditioner.embedders.0.transformer.text_model.", "conditioner.embedders.1.model."],
    "FluxPipeline": ["text_encoders.clip_l.transformer.text_model."],
}
"""Prefixes of the tensors that the edit changes."""
SIZE = 16


def draw(pipeline: Any) -> np.ndarray:
    sampler, specs = Sampler(2, 3.0, height=SIZE, width=SIZE), [ImageSpec("a photo of a cat", 1)]
    return np.stack(generate_images(pipeline, sampler, specs)).astype(int)


@pytest.mark.usefixtures("small_flux", "small_job")
@pytest.mark.parametrize("build", [small.stable_diffusion_1, small.sdxl, small.flux])
def test_erasure_from_a_single_file_ends_with_a_verdict(build: Callable[[], Any], tmp_path: Path) -> None:
    torch.manual_seed(0)
    pipeline = build()
    model = small.write_single_file(tmp_path / "model.safetensors", pipeline)
    components = small.write_configs(tmp_path / "components", pipeline)
    for folder in components.glob("tokenizer*"):  # CLIP's tokenizer is shipped, T5's is not
        if folder.name != "tokenizer_2" or "Flux" not in type(pipeline).__name__:
            shutil.rmtree(folder)
    request = EditRequest.model_validate(
        {
            "removals": [{"concept": "cat", "replacement": "dog"}],
            "validation": {"steps": 2, "guidance": 3.0, "retain_prompts": 2, "prompts": 2, "budget": {"rounds": 1}},
        }
    )
    done = erase(request, model, tmp_path / "out", cache=tmp_path / "cache", components=components)
    report = done.report
    assert report.verdict in ("passed", "failed", "inconclusive")
    assert report.validation is not None
    assert "model_index.json" in report.validation.sampler.components
    assert (report.validation.sampler.height, report.validation.sampler.width) == (SIZE, SIZE)
    assert {"report.json", "delta.safetensors", "lora.safetensors", "model.safetensors"} <= {
        path.name for path in done.files
    }

    before, after = load_file(model), load_file(tmp_path / "out" / "model.safetensors")
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert before.keys() == after.keys()
    assert all(any(name.startswith(prefix) for name in changed) for prefix in EDITED[type(pipeline).__name__])
    assert all(name.startswith(tuple(EDITED[type(pipeline).__name__])) for name in changed)
    edited = load_pipeline(tmp_path / "out" / "model.safetensors", components=components)
    assert not np.array_equal(draw(edited), draw(pipeline)), "the published file draws other images"
