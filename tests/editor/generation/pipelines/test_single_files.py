"""Single files of every family are loaded as the pipeline whose weights they contain."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from editor.errors import CheckpointError
from editor.generation.pipelines import load_pipeline
from editor.generation.pipelines.plan import plan_pipeline
from tests.editor.generation.pipelines import small_pipelines as small

pytestmark = pytest.mark.usefixtures("small_flux")


def test_geometry_of_no_released_model_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    """The shipped configuration states twelve layers."""
    file = small.write_single_file(tmp_path / "model.safetensors", small.stable_diffusion_1())
    with pytest.raises(CheckpointError, match="it has 2 layers, and the configuration states 12") as raised:
        plan_pipeline(file)
    assert "text_encoder/config.json" in (raised.value.remedy or "")


@pytest.mark.parametrize(
    "build", [small.stable_diffusion_1, small.stable_diffusion_2, small.sdxl, small.sd3, small.flux]
)
def test_single_file_is_loaded_as_the_pipeline_that_was_saved(build: Callable[[], Any], tmp_path: Path) -> None:
    torch.manual_seed(0)
    saved = build()
    file = small.write_single_file(tmp_path / "model.safetensors", saved)
    configs = small.write_configs(tmp_path / "configs", saved)
    small.assert_same_pipeline(load_pipeline(file, components=configs), saved)
