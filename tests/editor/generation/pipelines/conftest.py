"""Shared by the tests of pipelines."""

import pytest
from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES

from tests.editor.generation.pipelines import small_pipelines as small


@pytest.fixture
def small_flux(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let diffusers convert the small FLUX: its converter supports the width of the released models only."""
    classes = SINGLE_FILE_LOADABLE_CLASSES["FluxTransformer2DModel"]
    monkeypatch.setitem(classes, "checkpoint_mapping_fn", small.flux_converter(small.FLUX_WIDTH))
