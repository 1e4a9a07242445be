"""Train an IP-Adapter (Ye et al. 2023, section 3.2) for the embedded model: ``python -m research.emoji_features ip_adapter``.

The adapter generates images from the judge's image embeddings; the denoiser stays unchanged. Next to each cross-attention, a
second pair of key and value matrices reads four tokens that are projected from the embedding. Training by the denoising loss
would be inefficient, because that depends little on the content. Instead, every picture here has a complete caption, so each
attention is trained to respond to the picture and an empty caption as it responds to the caption. The denoiser runs once over
the artwork to record inputs and outputs of its attentions; training then takes 20 minutes.
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny, DDPMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from diffusers.models.embeddings import ImageProjection
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from editor import emoji
from editor.emoji.composites import Artwork, Subject
from editor.features.clip.ip_adapter import ADAPTER_FILE, ADAPTER_FOLDER
from editor.generation.pipelines import load_pipeline
from research.emoji.artwork_embeddings import SUBJECTS, artwork_embeddings
from research.emoji.random_subjects import random_caption
from research.emoji.train_unet import SCHEDULE, CaptionEncoder, sample_timesteps
from research.emoji.train_vae import SCALING
from research.emoji.training_loop import TrainingPlan, autocast, train

PLAN = TrainingPlan(steps=10_000, batch=128, learning_rate=2e-3, averaging=0.999, warmup=100, seed=11)
ROUNDS, POSITIONS, BATCH_SIZE = 2, 8, 32
"""Of the recording: passes over each subject, sampled positions of each map, and batch size."""
ABSENT_SHARE = 0.1
"""Share of samples without a picture, for which the adapter must output zero: guidance moves away from them."""
CARD = Path(__file__).parent / "ip_adapter_card.md"
TOKENS = 4
"""Number of tokens that diffusers assumes for this layout."""


class Adapter(nn.Module):
    """Projection, keys and values; keys and values are initialised from those of the text (Ye et al., section 3.2.2)."""

    def __init__(self, unet: UNet2DConditionModel, width: int) -> None:
        super().__init__()
        attentions = [unet.get_submodule(name) for name in cross_attentions(unet)]
        self.projection = ImageProjection(width, unet.config.cross_attention_dim, TOKENS)
        self.keys = nn.ModuleList(trainable_copy(attention.to_k) for attention in attentions)
        self.values = nn.ModuleList(trainable_copy(attention.to_v) for attention in attentions)

    def state(self) -> dict[str, Tensor]:
        """Return the weights in the public layout, which numbers the attentions 1, 3, 5, ..."""
        projection = self.projection.state_dict().items()
        state = {f"image_proj.{name.replace('image_embeds', 'proj')}": tensor for name, tensor in projection}
        for part, layers in (("to_k_ip", self.keys), ("to_v_ip", self.values)):
            state |= {f"ip_adapter.{2 * i + 1}.{part}.weight": layer.weight for i, layer in enumerate(layers)}
        return state


def trainable_copy(layer: nn.Linear) -> nn.Linear:
    """Return a trainable copy without bias."""
    copy = nn.Linear(layer.in_features, layer.out_features, bias=False)
    copy.load_state_dict(layer.state_dict())
    return copy


def cross_attentions(unet: UNet2DConditionModel) -> list[str]:
    """Return the modules that read the caption, in diffusers' order."""
    return [name.removesuffix(".processor") for name in unet.attn_processors if name.endswith("attn2.processor")]


@dataclass(frozen=True)
class AttentionTargets:
    """Queries of one attention, and the difference of its outputs for the caption and for an empty caption."""

    queries: Tensor
    """``(n, positions, c)``."""
    differences: Tensor
    """``(n, positions, c)``."""

    def loss(self, attention: Any, key: Tensor, value: Tensor, rows: Tensor, absent: Tensor) -> Tensor:
        """Return the relative squared error of the adapter's output; rows without a picture have the target zero."""
        target = self.differences[rows].float() * ~absent[:, None, None]
        query, key, value = (split_heads(part, attention.heads) for part in (self.queries[rows].float(), key, value))
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        error: Tensor = mixed @ attention.to_out[0].weight.T - target
        return error.square().sum() / target.square().sum()


def split_heads(states: Tensor, heads: int) -> Tensor:
    """``(b, n, c)`` -> ``(b, heads, n, c / heads)``."""
    return states.reshape(*states.shape[:2], heads, -1).transpose(1, 2)


@contextmanager
def record_attention_io(unet: UNet2DConditionModel) -> Iterator[dict[str, tuple[Tensor, Tensor]]]:
    """Record the last input ``(b, positions, c)`` and output of each cross-attention, by name."""
    recorded: dict[str, tuple[Tensor, Tensor]] = {}

    def hook(name: str) -> Any:
        return lambda _, inputs, output: recorded.update({name: (inputs[0], output)})

    handles = [unet.get_submodule(name).register_forward_hook(hook(name)) for name in cross_attentions(unet)]
    try:
        yield recorded
    finally:
        for handle in handles:
            handle.remove()


@dataclass(frozen=True)
class Teacher:
    """The embedded model, whose responses to captions are the training targets."""

    autoencoder: AutoencoderTiny
    prompts: CaptionEncoder
    unet: UNet2DConditionModel
    pictures: Artwork
    scheduler: DDPMScheduler

    @torch.no_grad()
    def record_targets(self, subjects: Sequence[Subject], seed: int, rounds: int = ROUNDS) -> list[AttentionTargets]:
        """Record the targets of every attention, for each subject ``rounds`` times in a row."""
        generator = torch.Generator().manual_seed(seed)
        repeated = [subject for subject in subjects for _ in range(rounds)]
        starts = tqdm(range(0, len(repeated), BATCH_SIZE), desc="targets")
        batches = [self.record_batch(repeated[start : start + BATCH_SIZE], generator) for start in starts]
        return [
            AttentionTargets(torch.cat([one.queries for one in parts]), torch.cat([one.differences for one in parts]))
            for parts in zip(*batches, strict=True)
        ]

    def record_batch(self, subjects: list[Subject], generator: torch.Generator) -> list[AttentionTargets]:
        """Record the targets of every attention for noised artwork and its captions."""
        clean = self.autoencoder.encoder(self.pictures.render(subjects)) * SCALING
        times = sample_timesteps(len(subjects), generator)
        noisy = self.scheduler.add_noise(clean, torch.randn(clean.shape, generator=generator), times)
        states = self.prompts.states([random_caption(subject, generator) for subject in subjects])
        with autocast(), record_attention_io(self.unet) as recorded:
            self.unet(noisy.to(memory_format=torch.channels_last), times, states)
        names = cross_attentions(self.unet)  # The modules run in another order.
        return [self.make_targets(self.unet.get_submodule(name), *recorded[name], generator) for name in names]

    def make_targets(
        self, attention: Any, inputs: Tensor, output: Tensor, generator: torch.Generator
    ) -> AttentionTargets:
        """Return the targets of one attention at a few random positions."""
        positions = torch.randperm(inputs.shape[1], generator=generator)[:POSITIONS]
        inputs = inputs[:, positions].float()
        empty = self.prompts.states([""]).float().expand(len(inputs), -1, -1)
        difference = output[:, positions].float() - AttnProcessor()(attention, inputs, empty)
        return AttentionTargets(attention.to_q(inputs).bfloat16(), difference.bfloat16())


def train_ip_adapter(teacher: Teacher, embedded: Tensor, folder: Path, plan: TrainingPlan = PLAN) -> Adapter:
    """Train an adapter.

    Args:
        embedded: embeddings of the first subjects as ``embed_artwork`` returns them, ``(subjects, variants, d)``. All variants
            of a subject have the same targets.
        folder: folder of the checkpoint.
    """
    torch.manual_seed(plan.seed)
    model = Adapter(teacher.unet, embedded.shape[2])
    attentions = [teacher.unet.get_submodule(name) for name in cross_attentions(teacher.unet)]
    targets = teacher.record_targets(SUBJECTS[: len(embedded)], plan.seed)

    def loss_of(generator: torch.Generator) -> Tensor:
        rows = torch.randint(len(targets[0].queries), (plan.batch,), generator=generator)
        variant = torch.randint(embedded.shape[1], (plan.batch,), generator=generator)
        absent = torch.rand(plan.batch, generator=generator) < ABSENT_SHARE
        tokens = model.projection(embedded[rows // ROUNDS, variant] * ~absent[:, None])
        each = zip(targets, attentions, model.keys, model.values, strict=True)
        return torch.stack([one.loss(at, k(tokens), v(tokens), rows, absent) for one, at, k, v in each]).mean()

    train("ip_adapter", model, plan, loss_of, folder)
    return model


def train_and_save(folder: Path) -> None:
    """Train with the packaged model and judge, and write the packaged adapter."""
    pipeline = load_pipeline(emoji.WEIGHTS)
    save_adapter(train_ip_adapter(make_teacher(pipeline), artwork_embeddings(folder), folder))


def make_teacher(pipeline: Any) -> Teacher:
    """Return the pipeline's parts as a teacher, without gradients."""
    unet = pipeline.unet.requires_grad_(False).to(memory_format=torch.channels_last)
    unet.set_attn_processor(AttnProcessor())
    prompts = CaptionEncoder(pipeline.tokenizer, pipeline.text_encoder, {})
    return Teacher(pipeline.vae, prompts, unet, Artwork(), DDPMScheduler(**SCHEDULE))


def save_adapter(adapter: Adapter, folder: Path = ADAPTER_FOLDER) -> None:
    """Write the weights in float16 with their card."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().half().contiguous() for name, tensor in adapter.state().items()}
    save_file(tensors, folder / ADAPTER_FILE, {"format": "pt"})
    shutil.copyfile(CARD, folder / "README.md")
