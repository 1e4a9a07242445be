"""A tiny text encoder on disk, with the embedded model's tokenizer and profile."""

from pathlib import Path
from shutil import copytree

import pytest
import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from editor.checkpoints import TextEncoder, open_checkpoint
from editor.emoji.profile import PROFILE
from editor.prompts import PromptBuilder
from editor.prompts.profile import PROFILE_FILE
from research.emoji.train_tokenizer import CONTEXT, train_tokenizer


@pytest.fixture(scope="session")
def tokenizer() -> CLIPTokenizer:
    return train_tokenizer()


@pytest.fixture(scope="session")
def encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    torch.manual_seed(0)
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=CONTEXT,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        attn_implementation="eager",
    )
    model = CLIPTextModel(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.1)
    return model


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory, encoder: CLIPTextModel, tokenizer: CLIPTokenizer) -> Path:
    folder = tmp_path_factory.mktemp("model")
    encoder.save_pretrained(folder / "text_encoder")
    tokenizer.save_pretrained(folder / "tokenizer")
    (folder / PROFILE_FILE).write_text(PROFILE.model_dump_json())
    return folder


@pytest.fixture(scope="session")
def source(model_dir: Path) -> TextEncoder:
    return open_checkpoint(model_dir).encoders[0]


@pytest.fixture(scope="session")
def builder(tokenizer: CLIPTokenizer) -> PromptBuilder:
    return PromptBuilder(tokenizer, PROFILE)


@pytest.fixture(scope="session")
def pipeline_dir(tmp_path_factory: pytest.TempPathFactory, model_dir: Path) -> Path:
    """The tiny text encoder with a tiny UNet that has seven pairs of cross-attention keys and values."""
    folder = tmp_path_factory.mktemp("pipeline") / "model"
    copytree(model_dir, folder)
    torch.manual_seed(1)
    UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 64),
        layers_per_block=1,
        norm_num_groups=8,
        cross_attention_dim=64,
        attention_head_dim=8,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    ).save_pretrained(folder / "unet")
    return folder
