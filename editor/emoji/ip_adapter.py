"""An IP-Adapter (Ye et al. 2023, section 3.2) for the embedded model: it draws what an image embedding of the judge says.

The denoiser is frozen. Trained are a projection of the embedding to four tokens, and for each cross-attention a second
pair of key and value matrices that reads them. Files have the public layout, so diffusers' ``load_ip_adapter`` reads them.
"""

import shutil
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny, DDPMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import IPAdapterAttnProcessor
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPModel, CLIPTextModel, CLIPTokenizer

from editor import emoji
from editor.emoji.autoencoder import SCALING
from editor.emoji.clip import rough, wide_shift
from editor.emoji.samples import Pictures, random_subjects
from editor.emoji.training import Plan, autocast, train
from editor.emoji.unet import SCHEDULE, Prompts, random_times
from editor.judging.sampling import load_pipeline

PLAN = Plan(steps=2400, batch=32, learning_rate=1e-3, averaging=0.995, warmup=100, seed=11)
TEXT_DROPPED, IMAGE_DROPPED = 0.6, 0.1
"""Shares of samples, drawn independently: mostly the image speaks alone, at times with the caption, at times neither does."""
ADAPTER = Path(__file__).parent / "features" / "ip_adapter"
"""The adapter that ships."""
FILE = "ip_adapter.safetensors"
CARD = Path(__file__).parent / "ip_adapter_card.md"
TOKENS = 4
"""What diffusers takes an adapter of this layout to have."""


def untrained(unet: UNet2DConditionModel, width: int, seed: int) -> dict[str, dict[str, Tensor]]:
    """An adapter in the public layout: random projection; keys and values start as those of the text (Ye et al., 3.2.2)."""
    torch.manual_seed(seed)
    states = unet.config.cross_attention_dim
    project, norm = torch.nn.Linear(width, TOKENS * states), torch.nn.LayerNorm(states)
    projection = {f"proj.{k}": v for k, v in project.state_dict().items()}
    projection |= {f"norm.{k}": v for k, v in norm.state_dict().items()}
    keys_and_values = {}
    for number, name in enumerate(cross_attentions(unet)):
        attention = unet.get_submodule(name)
        keys_and_values[f"{2 * number + 1}.to_k_ip.weight"] = attention.to_k.weight.detach().clone()
        keys_and_values[f"{2 * number + 1}.to_v_ip.weight"] = attention.to_v.weight.detach().clone()
    return {"image_proj": projection, "ip_adapter": keys_and_values}


def cross_attentions(unet: UNet2DConditionModel) -> list[str]:
    """Modules that read the caption, in the order that the layout numbers them by: 1, 3, 5, ..."""
    return [name.removesuffix(".processor") for name in unet.attn_processors if name.endswith("attn2.processor")]


def with_adapter(unet: UNet2DConditionModel, adapter: dict[str, dict[str, Tensor]]) -> UNet2DConditionModel:
    """Attach an adapter, the only part that trains; attention as plain matrix products, as in the denoiser's training."""
    unet._load_ip_adapter_weights([adapter], low_cpu_mem_usage=False)
    unet.set_attn_processor({name: plain(processor) for name, processor in unet.attn_processors.items()})
    unet.requires_grad_(False)
    for part in adapter_modules(unet):
        part.requires_grad_(True)
    return unet


def plain(processor: Any) -> Any:
    """The same weights in the processor that uses no fused attention."""
    if not hasattr(processor, "to_k_ip"):
        return processor
    twin = IPAdapterAttnProcessor(processor.hidden_size, processor.cross_attention_dim, processor.num_tokens)
    twin.load_state_dict(processor.state_dict())
    return twin


def adapter_modules(unet: UNet2DConditionModel) -> list[torch.nn.Module]:
    """The projection, then the processors of the cross-attentions."""
    return [unet.encoder_hid_proj, *(unet.attn_processors[f"{name}.processor"] for name in cross_attentions(unet))]


def adapter_of(unet: UNet2DConditionModel) -> dict[str, dict[str, Tensor]]:
    """Read an attached adapter back in the public layout."""
    projection, *processors = adapter_modules(unet)
    image = projection.get_submodule("image_projection_layers.0").state_dict()
    pairs = {
        f"{2 * number + 1}.{name.replace('.0.', '.')}": tensor
        for number, processor in enumerate(processors)
        for name, tensor in processor.state_dict().items()
    }
    return {"image_proj": {k.replace("image_embeds", "proj"): v for k, v in image.items()}, "ip_adapter": pairs}


def train_ip_adapter(
    autoencoder: AutoencoderTiny,
    encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    unet: UNet2DConditionModel,
    judge: CLIPModel,
    folder: Path,
    plan: Plan = PLAN,
) -> UNet2DConditionModel:
    """Train on roughened pictures in, clean unshifted latents out: what an embedding means, not where its pixels lay."""
    pictures, scheduler, prompts = Pictures(), DDPMScheduler(**SCHEDULE), Prompts(tokenizer, encoder, {})
    model = with_adapter(unet, untrained(unet, judge.config.projection_dim, plan.seed))

    def loss_of(generator: torch.Generator) -> Tensor:
        subjects = random_subjects(plan.batch, generator)
        with torch.no_grad():
            clean = autoencoder.encoder(pictures.of(subjects)) * SCALING
            seen = rough(pictures.of(subjects, wide_shift(generator)), generator)
            embedded = judge.visual_projection(judge.vision_model(pixel_values=seen).pooler_output)
        captions = [
            "" if drop else subject.caption(generator)
            for drop, subject in zip(dropped(plan.batch, TEXT_DROPPED, generator), subjects, strict=True)
        ]
        embedded[dropped(plan.batch, IMAGE_DROPPED, generator)] = 0
        noise, times = torch.randn(clean.shape, generator=generator), random_times(plan.batch, generator)
        noisy = scheduler.add_noise(clean, noise, times).to(memory_format=torch.channels_last)
        with autocast():
            image = {"image_embeds": [embedded[:, None]]}
            predicted = model(noisy, times, prompts.states(captions), added_cond_kwargs=image).sample
        return F.mse_loss(predicted.float(), scheduler.get_velocity(clean, noise, times))

    train("ip_adapter", model, plan, loss_of, folder)
    return model


def save_adapter(adapter: dict[str, dict[str, Tensor]], folder: Path) -> None:
    """Write the weights in float16, and the card."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"{part}.{name}": tensor.half() for part, named in adapter.items() for name, tensor in named.items()}
    save_file(tensors, folder / FILE, metadata={"format": "pt"})
    shutil.copyfile(CARD, folder / "README.md")


def load_adapted(folder: Path = ADAPTER) -> Any:
    """The embedded model's pipeline with the adapter that ships: ``ip_adapter_image_embeds`` are the judge's."""
    pipeline = load_pipeline(emoji.WEIGHTS)
    attach(pipeline, folder)
    return pipeline


def attach(pipeline: Any, folder: Path = ADAPTER) -> None:
    """Load the adapter into a pipeline of the embedded model, edited or not."""
    pipeline.load_ip_adapter(folder, subfolder="", weight_name=FILE, image_encoder_folder=None)


def dropped(count: int, share: float, generator: torch.Generator) -> list[bool]:
    """Which samples go without."""
    drops: list[bool] = (torch.rand(count, generator=generator) < share).tolist()
    return drops
