"""Layers that are read into reused memory are compared with the tensors of the checkpoint."""

import pytest
import torch

from editor.bench.synthetic_checkpoints import SDXL, EncoderLayout, write_file
from editor.checkpoints import TextEncoder, open_checkpoint
from editor.checkpoints.key_mapping import SCHEMES
from editor.sites.layer_reader import LAYER_PREFIX, LINEAR_MAPS, LayerReader


@pytest.fixture(scope="module")
def half_precision_encoder(tmp_path_factory: pytest.TempPathFactory) -> TextEncoder:
    """SDXL's second encoder in float16 with fused projections, two layers of width 64."""
    layout = EncoderLayout(SDXL[1].prefix, SDXL[1].scheme, 2, 64, "F16")
    first = EncoderLayout(SDXL[0].prefix, SCHEMES[0], 1, 64, "F16")
    path = tmp_path_factory.mktemp("half") / "sdxl.safetensors"
    tensors = {name: (one.dtype, size) for one in (first, layout) for name, size in one.tensors().items()}
    write_file(path, tensors, tensors.keys())
    return open_checkpoint(path).encoder("text_encoder_2")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_each_layer_has_the_tensors_of_the_checkpoint(half_precision_encoder: TextEncoder, dtype: torch.dtype) -> None:
    reader = LayerReader(half_precision_encoder, dtype)
    for layer in (0, 1):
        block = reader.read(layer)
        projections = zip(*(part.chunk(3) for part in block.attention.qkv_projection), strict=True)
        read = (*projections, block.out_proj, block.mlp.fc1, block.mlp.fc2)
        for name, tensors in zip(LINEAR_MAPS, read, strict=True):
            for part, tensor in zip(("weight", "bias"), tensors, strict=True):
                stored = half_precision_encoder.tensor(LAYER_PREFIX.format(layer) + f"{name}.{part}")
                assert torch.equal(tensor, stored.to(dtype))
