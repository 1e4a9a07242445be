"""Traces that generate images share a loaded pipeline, as long as its files stay the same."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from editor.emoji import JUDGE
from editor.generation.config import Sampler
from editor.tracing.traced_model import TracedModel
from tests.fakes.pipelines import save_model


def load_pipeline_of(model: Path) -> Any:
    return TracedModel(model, JUDGE, Sampler(1, 1.0), needs_images=True).pipeline.pipeline


def test_next_trace_uses_the_same_pipeline_unless_a_file_has_changed(tmp_path: Path) -> None:
    model = save_model("stable-diffusion-1", tmp_path / "model")
    first = load_pipeline_of(model)
    assert load_pipeline_of(model) is first
    path = model / "unet" / "diffusion_pytorch_model.safetensors"
    changed = {name: tensor + 1 for name, tensor in load_file(path).items()}
    save_file(changed, path, metadata={"format": "pt"})
    second = load_pipeline_of(model)
    assert second is not first
    torch.testing.assert_close(second.unet.conv_out.bias, changed["conv_out.bias"])
