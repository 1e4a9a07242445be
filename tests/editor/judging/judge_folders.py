"""Folders with tiny judges of random weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPVisionConfig,
    Siglip2Config,
    Siglip2Model,
    Siglip2TextConfig,
    Siglip2VisionConfig,
    SiglipConfig,
    SiglipModel,
    SiglipTextConfig,
    SiglipVisionConfig,
)

SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


def clip_folder(folder: Path, tokenizer: Any, **save: Any) -> Path:
    """Save a CLIP of 32 x 32 pixels."""
    torch.manual_seed(0)
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    text = CLIPTextConfig(vocab_size=len(tokenizer), max_position_embeddings=16, **ends, **SIZES)
    vision = CLIPVisionConfig(image_size=32, patch_size=8, **SIZES)
    config = CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=12)
    return save_judge(CLIPModel(config), folder, tokenizer, save)


def siglip_folder(folder: Path, tokenizer: Any, **save: Any) -> Path:
    """Save a SigLIP of 32 x 32 pixels."""
    torch.manual_seed(0)
    text = SiglipTextConfig(vocab_size=len(tokenizer), max_position_embeddings=16, projection_size=16, **SIZES)
    vision = SiglipVisionConfig(image_size=32, patch_size=8, **SIZES)
    config = SiglipConfig(text_config=text.to_dict(), vision_config=vision.to_dict())
    return save_judge(SiglipModel(config), folder, tokenizer, save)


def siglip2_folder(folder: Path, tokenizer: Any, **save: Any) -> Path:
    """Save a SigLIP 2 of at most 16 patches of 8 x 8 pixels."""
    torch.manual_seed(0)
    # transformers adds the special tokens of SigLIP 2 to any tokenizer.
    text = Siglip2TextConfig(vocab_size=len(tokenizer) + 8, max_position_embeddings=16, projection_size=16, **SIZES)
    vision = Siglip2VisionConfig(num_patches=16, patch_size=8, **SIZES)
    config = Siglip2Config(text_config=text.to_dict(), vision_config=vision.to_dict())
    return save_judge(Siglip2Model(config), folder, tokenizer, save)


def save_judge(model: Any, folder: Path, tokenizer: Any, save: Mapping[str, Any]) -> Path:
    """Save a model and its tokenizer."""
    model.save_pretrained(folder, **save)
    tokenizer.save_pretrained(folder)
    return folder
