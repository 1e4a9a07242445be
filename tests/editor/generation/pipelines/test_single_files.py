"""Single files of every family are loaded as the pipeline whose weights they contain."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES
from torch import nn

from editor.generation.pipelines import load_pipeline
from tests.editor.generation.pipelines import small_pipelines as small


@pytest.fixture(autouse=True)
def small_flux(monkeypatch: pytest.MonkeyPatch) -> None:
    """diffusers converts FLUX of the released width only."""
    classes = SINGLE_FILE_LOADABLE_CLASSES["FluxTransformer2DModel"]
    monkeypatch.setitem(classes, "checkpoint_mapping_fn", small.flux_converter(small.FLUX_WIDTH))


def models(pipeline: Any) -> dict[str, nn.Module]:
    return {name: part for name, part in pipeline.components.items() if isinstance(part, nn.Module)}


def assert_same_pipeline(loaded: Any, saved: Any) -> None:
    assert type(loaded) is type(saved)
    assert models(loaded).keys() == models(saved).keys()
    for name, model in models(loaded).items():
        expected, found = models(saved)[name].state_dict(), model.state_dict()
        assert found.keys() == expected.keys(), name
        assert all(torch.equal(found[key], expected[key]) for key in found), name
        assert not model.training
    assert settings(loaded.scheduler) == settings(saved.scheduler)
    for name in ("tokenizer", "tokenizer_2", "tokenizer_3"):
        if tokenizer := saved.components.get(name):
            ids = [each("a fox", padding="max_length")["input_ids"] for each in (loaded.components[name], tokenizer)]
            assert ids[0] == ids[1]


def settings(scheduler: Any) -> dict[str, Any]:
    return {name: value for name, value in scheduler.config.items() if not name.startswith("_")}


@pytest.mark.parametrize(
    "build", [small.stable_diffusion_1, small.stable_diffusion_2, small.sdxl, small.sd3, small.flux]
)
def test_single_file_is_loaded_as_the_pipeline_that_was_saved(build: Callable[[], Any], tmp_path: Path) -> None:
    torch.manual_seed(0)
    saved = build()
    file = small.write_single_file(tmp_path / "model.safetensors", saved)
    configs = small.write_configs(tmp_path / "configs", saved)
    assert_same_pipeline(load_pipeline(file, components=configs), saved)
