"""The GPU programme itself runs on a CPU with small models, so that it works where there is a GPU."""

import pytest
import torch

from editor.generation.config import Sampler
from editor.generation.device import DeviceSettings
from editor.generation.placement import place_pipeline
from tests.gpu.measure import measure_speed
from tests.gpu.models import SDXL, STABLE_DIFFUSION, random_pipeline

UNET = {"block_out_channels": [32, 64], "norm_num_groups": 8, "cross_attention_dim": 64, "sample_size": 8}
BLOCKS = {
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
}
ENCODER = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "projection_dim": 32,
}
CHANGES = {
    STABLE_DIFFUSION: UNET | BLOCKS | {"cross_attention_dim": 32, "attention_head_dim": 8},
    SDXL: UNET
    | BLOCKS
    | {
        "attention_head_dim": [4, 8],
        "transformer_layers_per_block": 1,
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 80,
    },
}


@pytest.mark.parametrize("family", [STABLE_DIFFUSION, SDXL])
def test_speed_of_a_small_pipeline_is_measured(family: str) -> None:
    torch.manual_seed(0)
    device = DeviceSettings(device="cpu", precision="float32").resolve()
    vae = {"block_out_channels": [16] * 4, "norm_num_groups": 8, "layers_per_block": 1}
    changes = {"unet": CHANGES[family], "vae": vae, "text_encoder": ENCODER, "text_encoder_2": ENCODER}
    pipeline = place_pipeline(random_pipeline(family, device.dtype, changes), device)
    speed = measure_speed(pipeline, Sampler(2, 5.0, height=64, width=64), 4)
    assert speed.images_per_second > 0
    assert "images/s" in speed.describe()
