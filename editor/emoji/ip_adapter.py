"""An IP-Adapter (Ye et al. 2023, section 3.2) for the embedded model: it draws what an image embedding of the judge says.

The denoiser is frozen. Trained are a projection of the embedding to four tokens, and for each cross-attention a second
pair of key and value matrices that reads them. Not by denoising, whose loss says little about what is drawn and takes
weeks to say it: every picture here has a caption that tells all of it, so each cross-attention learns by itself to answer
picture and empty caption as it answers the caption. Files have the public layout, which diffusers loads.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny, DDPMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor, IPAdapterAttnProcessor
from diffusers.models.embeddings import ImageProjection
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPModel, CLIPTextModel, CLIPTokenizer

from editor import emoji
from editor.emoji.autoencoder import SCALING
from editor.emoji.clip import rough, wide_shift
from editor.emoji.samples import Pictures, random_subjects
from editor.emoji.training import Plan, autocast, train
from editor.emoji.unet import SCHEDULE, Prompts, random_times
from editor.judging.sampling import load_pipeline

PLAN = Plan(steps=1600, batch=32, learning_rate=2e-3, averaging=0.995, warmup=50, seed=11)
ABSENT = 0.1
"""Share of samples without a picture, which must add nothing: what guidance leads away from."""
ADAPTER = Path(__file__).parent / "features" / "ip_adapter"
"""The adapter that ships."""
FILE = "ip_adapter.safetensors"
CARD = Path(__file__).parent / "ip_adapter_card.md"
TOKENS = 4
"""What diffusers takes an adapter of this layout to have."""
Call = tuple[Tensor, Tensor]
"""What a cross-attention was given, ``(b, h * w, c)``, and what it answered."""


class Adapter(nn.Module):
    """Projection and processors of an adapter; keys and values start as those of the text (Ye et al., section 3.2.2)."""

    def __init__(self, unet: UNet2DConditionModel, width: int) -> None:
        super().__init__()
        states = unet.config.cross_attention_dim
        self.projection = ImageProjection(width, states, TOKENS)
        self.processors = nn.ModuleList(processor(unet.get_submodule(name), states) for name in attentions(unet))

    def tokens(self, embedded: Tensor) -> Tensor:
        """``(b, width)`` -> ``(b, 4, states)``."""
        tokens: Tensor = self.projection(embedded)
        return tokens

    def state(self) -> dict[str, Tensor]:
        """Weights in the public layout, as ``image_proj.*`` and ``ip_adapter.*``; attentions are numbered 1, 3, 5, ..."""
        projection = {k.replace("image_embeds", "proj"): v for k, v in self.projection.state_dict().items()}
        pairs = {
            f"{2 * number + 1}.{name.replace('.0.', '.')}": tensor
            for number, processor in enumerate(self.processors)
            for name, tensor in processor.state_dict().items()
        }
        return {f"image_proj.{k}": v for k, v in projection.items()} | {f"ip_adapter.{k}": v for k, v in pairs.items()}


def attentions(unet: UNet2DConditionModel) -> list[str]:
    """Modules that read the caption, in diffusers' order."""
    return [name.removesuffix(".processor") for name in unet.attn_processors if name.endswith("attn2.processor")]


def processor(attention: Any, states: int) -> IPAdapterAttnProcessor:
    """Reads image tokens as the attention reads text; without fused attention, whose gradients are slow on CPUs."""
    made = IPAdapterAttnProcessor(attention.to_k.out_features, states, (TOKENS,))
    made.to_k_ip[0].load_state_dict(attention.to_k.state_dict())
    made.to_v_ip[0].load_state_dict(attention.to_v.state_dict())
    return made


@contextmanager
def listening(unet: UNet2DConditionModel) -> Iterator[dict[str, Call]]:
    """Within, the mapping holds each cross-attention's last call."""
    heard: dict[str, Call] = {}

    def hook(name: str) -> Any:
        def keep(_: nn.Module, given: tuple[Tensor, ...], answer: Tensor) -> None:
            heard[name] = (given[0], answer)

        return keep

    handles = [unet.get_submodule(name).register_forward_hook(hook(name)) for name in attentions(unet)]
    try:
        yield heard
    finally:
        for handle in handles:
            handle.remove()


def shortfall(attention: Any, processor: IPAdapterAttnProcessor, call: Call, empty: Tensor, tokens: Tensor) -> Tensor:
    """Squared error of the answer to an empty caption and an image, as a share of its error without the image."""
    given, wanted = call
    with torch.no_grad():
        without = AttnProcessor()(attention, given, empty)
    answer = processor(attention, given, (empty, [tokens[:, None]]))
    return F.mse_loss(answer.float(), wanted.float()) / F.mse_loss(without.float(), wanted.float())


def train_ip_adapter(
    autoencoder: AutoencoderTiny,
    encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    unet: UNet2DConditionModel,
    judge: CLIPModel,
    folder: Path,
    plan: Plan = PLAN,
) -> Adapter:
    """Train on roughened and shifted pictures: what an embedding means, not where its pixels lay."""
    torch.manual_seed(plan.seed)
    pictures, scheduler, prompts = Pictures(), DDPMScheduler(**SCHEDULE), Prompts(tokenizer, encoder, {})
    unet.requires_grad_(False).set_attn_processor(AttnProcessor())
    model = Adapter(unet, judge.config.projection_dim)

    def loss_of(generator: torch.Generator) -> Tensor:
        subjects = random_subjects(plan.batch, generator)
        absent = torch.rand(plan.batch, generator=generator) < ABSENT
        captions = ["" if no else s.caption(generator) for no, s in zip(absent.tolist(), subjects, strict=True)]
        with torch.no_grad(), autocast(), listening(unet) as calls:
            clean = autoencoder.encoder(pictures.of(subjects)) * SCALING
            times = random_times(plan.batch, generator)
            noisy = scheduler.add_noise(clean, torch.randn(clean.shape, generator=generator), times)
            unet(noisy.to(memory_format=torch.channels_last), times, prompts.states(captions))
            seen = rough(pictures.of(subjects, wide_shift(generator)), generator)
            embedded = judge.visual_projection(judge.vision_model(pixel_values=seen).pooler_output)
        with autocast():
            tokens = model.tokens(embedded.float() * ~absent[:, None])
            empty = prompts.states([""] * plan.batch)
            pairs = zip(attentions(unet), model.processors, strict=True)
            return torch.stack(
                [shortfall(unet.get_submodule(name), part, calls[name], empty, tokens) for name, part in pairs]
            ).mean()

    train("ip_adapter", model, plan, loss_of, folder)
    return model


def save_adapter(adapter: Adapter, folder: Path = ADAPTER) -> None:
    """Write the weights in float16, and the card."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.half() for name, tensor in adapter.state().items()}, folder / FILE, {"format": "pt"})
    shutil.copyfile(CARD, folder / "README.md")


def load_adapted(folder: Path = ADAPTER) -> Any:
    """The embedded model's pipeline with the adapter that ships: ``ip_adapter_image_embeds`` are the judge's."""
    pipeline = load_pipeline(emoji.WEIGHTS)
    attach(pipeline, folder)
    return pipeline


def attach(pipeline: Any, folder: Path = ADAPTER) -> None:
    """Load the adapter into a pipeline of the embedded model, edited or not."""
    pipeline.load_ip_adapter(folder, subfolder="", weight_name=FILE, image_encoder_folder=None)
