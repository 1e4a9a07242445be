"""The embedded model as an SDXL pipeline: it draws emoji, so it can be calibrated and judged, with SDXL's classes and paths.

SDXL reads the states before the last layer, without the final normalization, from two text encoders. The first one here has
two more layers than the embedded one: a layer whose MLP adds the normalized states, magnified, and a last one that nothing
reads. The UNet's keys and values divide by that factor, so the states that were not normalized vanish beside them. The second
encoder is random and has little influence, as have the pooled embedding and the sizes.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from diffusers import AutoencoderTiny, DPMSolverMultistepScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from editor.emoji import WEIGHTS
from editor.prompts.profile import PROFILE_FILE
from tests.fakes.text_encoders import WIDTH, clip

MAGNIFICATION = 1000.0
"""Of the normalized states beside those that are not: 0.1 % of error."""
LINEAR_RANGE = 40.0
"""Bias that moves inputs of GELU to where it is the identity."""
INFLUENCE = 0.02
"""Standard deviation of the weights that read the second encoder, its pooled state and the sizes."""
SIZE_CHANNELS = 4


def save_emoji_sdxl(folder: Path) -> Path:
    """Write the pipeline as a diffusers folder, with the embedded model's profile. Returns the folder."""
    torch.manual_seed(0)
    tokenizer = CLIPTokenizer.from_pretrained(WEIGHTS / "tokenizer")
    pipeline = StableDiffusionXLPipeline(
        AutoencoderTiny.from_pretrained(WEIGHTS / "vae"),
        first_encoder(),
        clip(projected=True, activation="gelu"),
        tokenizer,
        tokenizer,
        unet(),
        DPMSolverMultistepScheduler.from_pretrained(WEIGHTS / "scheduler"),
        force_zeros_for_empty_prompt=False,  # the embedded model was trained with the embedding of the empty prompt
        add_watermarker=False,
    )
    pipeline.save_pretrained(folder)
    (folder / PROFILE_FILE).write_bytes((WEIGHTS / PROFILE_FILE).read_bytes())
    return folder


@torch.no_grad()
def first_encoder() -> CLIPTextModel:
    """Return the embedded text encoder with a layer that normalizes, and a last one that is not read."""
    embedded = CLIPTextModel.from_pretrained(WEIGHTS / "text_encoder")
    config = CLIPTextConfig(**embedded.config.to_dict())
    layers = config.num_hidden_layers
    config.num_hidden_layers = layers + 2
    encoder = CLIPTextModel(config)
    missing, unexpected = encoder.load_state_dict(embedded.state_dict(), strict=False)
    assert not unexpected
    assert all(f"layers.{layers}." in name or f"layers.{layers + 1}." in name for name in missing)
    states = dict(encoder.named_modules())
    prefix = next(name for name in states if name.endswith(f"layers.{layers}"))
    norm = next(module for name, module in states.items() if name.endswith("final_layer_norm"))
    layer, identity = states[prefix], torch.eye(config.hidden_size)
    for part in (layer.self_attn.out_proj, layer.mlp.fc1, layer.mlp.fc2):
        part.weight.zero_()
        part.bias.zero_()
    layer.layer_norm2.load_state_dict(norm.state_dict())
    layer.mlp.fc1.weight[: config.hidden_size] = identity
    layer.mlp.fc1.bias[: config.hidden_size] = LINEAR_RANGE
    layer.mlp.fc2.weight[:, : config.hidden_size] = MAGNIFICATION * identity
    layer.mlp.fc2.bias.fill_(-MAGNIFICATION * LINEAR_RANGE)
    return encoder.eval()


@torch.no_grad()
def unet() -> UNet2DConditionModel:
    """Return the embedded UNet, which attends to the states of both encoders."""
    embedded = UNet2DConditionModel.from_pretrained(WEIGHTS / "unet")
    config = dict(embedded.config) | {
        "cross_attention_dim": embedded.config.cross_attention_dim + WIDTH,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": SIZE_CHANNELS,
        "projection_class_embeddings_input_dim": WIDTH + 6 * SIZE_CHANNELS,
    }
    model = UNet2DConditionModel.from_config(config)
    own = model.state_dict()
    model.load_state_dict({name: widened(name, tensor, embedded.state_dict()) for name, tensor in own.items()})
    return model.eval()


def widened(name: str, random: Tensor, embedded: Mapping[str, Tensor]) -> Tensor:
    """Return the embedded tensor of a name, with columns for the second encoder; a small random one if there is none."""
    small = INFLUENCE * torch.randn_like(random)
    if name not in embedded:
        return small
    tensor = embedded[name]
    return tensor if tensor.shape == random.shape else torch.cat([tensor / MAGNIFICATION, small[:, -WIDTH:]], 1)
