"""A pipeline stays in memory for the next job on the same files and device, unless a job has changed it."""

import os
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from editor.generation import pipelines
from editor.generation.batch_size import batch_size_of
from editor.generation.config import ImageSpec, Sampler
from editor.generation.device import ComputeDevice, DeviceSettings
from editor.generation.edited_weights import apply_updates, edited_weights
from editor.generation.pipeline_state import pipeline_state
from editor.generation.sampling import generate_images
from editor.generation.warm_pipelines import WarmPipelines
from tests.editor.generation.test_edited_weights import EDITS, update_of
from tests.fakes.pipelines import make_pipeline, save_model

SPECS = [ImageSpec("a fox", 1), ImageSpec("an owl in ink", 2)]
Load = Callable[..., Any]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {family: save_model(family, tmp_path_factory.mktemp(family)) for family in EDITS}


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The models that are loaded, in order."""
    loaded: list[Path] = []
    real = pipelines.load_pipeline

    def load(path: Path, **options: Any) -> Any:
        loaded.append(path)
        return real(path, **options)

    monkeypatch.setattr(pipelines, "load_pipeline", load)
    return loaded


def cpu(**settings: Any) -> ComputeDevice:
    return DeviceSettings("cpu", "float32", **settings).resolve()


def draw(pipeline: Any, guidance: float = 3.0) -> np.ndarray:
    return np.stack(generate_images(pipeline, Sampler(2, guidance, height=32, width=32), SPECS))


@pytest.mark.parametrize("family", EDITS)
def test_second_job_loads_nothing_and_generates_the_same_images(
    family: str, saved: dict[str, Path], loads: list[Path]
) -> None:
    warm, path = WarmPipelines(), saved[family]
    pipeline = warm.load(path, None, cpu())
    updates = [update_of(pipeline, *edit) for edit in EDITS[family]]
    with edited_weights(pipeline, updates):
        draw(pipeline)
    batch_size_of(pipeline).halve(32)
    again = warm.load(path, None, cpu())
    assert again is pipeline
    assert loads == [path]
    assert not batch_size_of(again).exceeded, "the batch sizes of the last job are forgotten"
    for guidance in (3.0, 1.0):
        assert np.array_equal(draw(again, guidance), draw(WarmPipelines().load(path, None, cpu()), guidance))


def left_edit(pipeline: Any) -> None:
    apply_updates(pipeline, [update_of(pipeline, *EDITS["sdxl"][1])])


def train_one_step(pipeline: Any) -> None:
    parameter = pipeline.unet.conv_in.bias.requires_grad_(True)
    with torch.enable_grad():
        parameter.square().sum().backward()
    torch.optim.SGD([parameter], lr=1e-6).step()


def exchange_rows(pipeline: Any) -> None:
    weight = pipeline.text_encoder.get_input_embeddings().weight.data
    weight[[3, 4]] = weight[[4, 3]].clone()


def leave_hook(pipeline: Any) -> None:
    pipeline.unet.mid_block.register_forward_hook(lambda *_: None)


def replace_method(pipeline: Any) -> None:
    pipeline.vae.decode = pipeline.vae.decode


def replace_module(pipeline: Any) -> None:
    pipeline.unet.conv_norm_out = torch.nn.Identity()


def add_token(pipeline: Any) -> None:
    pipeline.tokenizer_2 = deepcopy(pipeline.tokenizer_2)  # the tests share the tokenizer
    pipeline.tokenizer_2.add_tokens(["<learned>"])


def change_scheduler(pipeline: Any) -> None:
    pipeline.scheduler.register_to_config(prediction_type="v_prediction")


def train_mode(pipeline: Any) -> None:
    pipeline.vae.train()


CHANGES = (
    left_edit, train_one_step, exchange_rows, leave_hook, replace_method, replace_module, add_token, change_scheduler,
    train_mode,
)  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_every_kind_of_change_is_seen(change: Callable[[Any], None]) -> None:
    pipeline = make_pipeline("sdxl")
    before = pipeline_state(pipeline)
    change(pipeline)
    assert pipeline_state(pipeline) != before


def test_changed_pipeline_is_discarded(saved: dict[str, Path], loads: list[Path]) -> None:
    warm, path = WarmPipelines(), saved["sdxl"]
    train_one_step(warm.load(path, None, cpu()))
    fresh = warm.load(path, None, cpu())
    assert loads == [path, path]
    assert warm.load(path, None, cpu()) is fresh


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_every_single_weight_counts(dtype: torch.dtype) -> None:
    pipeline = make_pipeline("stable-diffusion-1").to(dtype=dtype)
    pipeline.unet.to(memory_format=torch.channels_last)
    before = pipeline_state(pipeline)
    weight = pipeline.unet.mid_block.resnets[0].conv1.weight.data
    for place in ((0, 0, 0, 0), (1, 2, 1, 0), (-1, -1, -1, -1)):
        value = weight[place].clone()
        weight[place] = (
            torch.nextafter(value.float(), torch.tensor(1e9)) if dtype == torch.float32 else value * 1.01 + 1e-3
        )
        assert pipeline_state(pipeline) != before
        weight[place] = value
        assert pipeline_state(pipeline) == before


def test_changed_file_is_noticed(tmp_path: Path, loads: list[Path]) -> None:
    warm, path = WarmPipelines(), save_model("stable-diffusion-1", tmp_path / "model")
    warm.load(path, None, cpu())
    weights = path / "unet" / "diffusion_pytorch_model.safetensors"
    content, times = weights.read_bytes(), weights.stat()
    weights.write_bytes(content[:-4] + bytes(4))
    os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))  # size and time of the content are as before
    warm.load(path, None, cpu())
    assert loads == [path, path]


def test_other_models_devices_and_budgets_are_told_apart(saved: dict[str, Path], loads: list[Path]) -> None:
    warm = WarmPipelines()
    first = warm.load(saved["sdxl"], None, cpu())
    assert warm.load(saved["flux"], None, cpu()) is not first
    assert warm.kept is not None
    assert warm.kept.key.path == saved["flux"], "one pipeline is kept, the last"
    assert warm.load(saved["flux"], None, cpu(vae_tiling=True)).vae.use_tiling
    assert len(loads) == 3
    for budget in (0, 1000):
        warm.load(saved["sdxl"], None, cpu(warm_memory=budget))
        assert warm.kept is None, "it exceeds the budget"
    warm.load(saved["sdxl"], None, cpu(warm_memory=10**9))
    assert warm.kept is not None
