"""An IP-Adapter (Ye et al. 2023, section 3.2) for the embedded model: it draws what an image embedding of the judge says.

The denoiser stays as it is. Beside each cross-attention, a second pair of key and value matrices reads four tokens that are
projected from the embedding. They are not trained by denoising, whose loss hardly tells what is drawn: every picture here
has a caption that says all of it, so each attention learns by itself to answer the picture and an empty caption as it
answers the caption. The denoiser runs once over the artwork to record questions and answers; the rest takes a third of an
hour.
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
from editor.generation.sampling import load_pipeline
from research.emoji.artwork_embeddings import SUBJECTS, artwork_embeddings
from research.emoji.train_unet import SCHEDULE, Prompts, random_times
from research.emoji.train_vae import SCALING
from research.emoji.training_loop import Plan, autocast, train

PLAN = Plan(steps=10_000, batch=128, learning_rate=2e-3, averaging=0.999, warmup=100, seed=11)
ROUNDS, POSITIONS, BATCH = 2, 8, 32
"""Recorded: times that each subject is asked about, positions of the map that are kept, subjects at once."""
ABSENT = 0.1
"""Share of samples without a picture, which must add nothing: it is what guidance leads away from."""
CARD = Path(__file__).parent / "ip_adapter_card.md"
TOKENS = 4
"""What diffusers takes an adapter of this layout to have."""


class Adapter(nn.Module):
    """Projection, keys and values; the latter start as those of the text (Ye et al., section 3.2.2)."""

    def __init__(self, unet: UNet2DConditionModel, width: int) -> None:
        super().__init__()
        attentions = [unet.get_submodule(name) for name in cross_attentions(unet)]
        self.projection = ImageProjection(width, unet.config.cross_attention_dim, TOKENS)
        self.keys = nn.ModuleList(copied(attention.to_k) for attention in attentions)
        self.values = nn.ModuleList(copied(attention.to_v) for attention in attentions)

    def state(self) -> dict[str, Tensor]:
        """Weights in the public layout, which numbers the attentions 1, 3, 5, ..."""
        projection = self.projection.state_dict().items()
        state = {f"image_proj.{name.replace('image_embeds', 'proj')}": tensor for name, tensor in projection}
        for part, layers in (("to_k_ip", self.keys), ("to_v_ip", self.values)):
            state |= {f"ip_adapter.{2 * i + 1}.{part}.weight": layer.weight for i, layer in enumerate(layers)}
        return state


def copied(layer: nn.Linear) -> nn.Linear:
    """A trainable twin."""
    twin = nn.Linear(layer.in_features, layer.out_features, bias=False)
    twin.load_state_dict(layer.state_dict())
    return twin


def cross_attentions(unet: UNet2DConditionModel) -> list[str]:
    """Modules that read the caption, in diffusers' order."""
    return [name.removesuffix(".processor") for name in unet.attn_processors if name.endswith("attn2.processor")]


@dataclass(frozen=True)
class Lesson:
    """What one attention is asked, and what the caption adds to its answer to an empty one."""

    queries: Tensor
    """``(n, positions, c)``."""
    wanted: Tensor
    """``(n, positions, c)``."""

    def missed(self, attention: Any, key: Tensor, value: Tensor, rows: Tensor, absent: Tensor) -> Tensor:
        """Squared error of the image's answer, as a share of what is wanted; without a picture nothing is."""
        wanted = self.wanted[rows].float() * ~absent[:, None, None]
        query, key, value = (by_head(part, attention.heads) for part in (self.queries[rows].float(), key, value))
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        error: Tensor = mixed @ attention.to_out[0].weight.T - wanted
        return error.square().sum() / wanted.square().sum()


def by_head(states: Tensor, heads: int) -> Tensor:
    """``(b, n, c)`` -> ``(b, heads, n, c / heads)``."""
    return states.reshape(*states.shape[:2], heads, -1).transpose(1, 2)


@contextmanager
def listening(unet: UNet2DConditionModel) -> Iterator[dict[str, tuple[Tensor, Tensor]]]:
    """Within, the mapping holds what each cross-attention was given last, ``(b, positions, c)``, and what it answered."""
    heard: dict[str, tuple[Tensor, Tensor]] = {}

    def hook(name: str) -> Any:
        return lambda _, given, answer: heard.update({name: (given[0], answer)})

    handles = [unet.get_submodule(name).register_forward_hook(hook(name)) for name in cross_attentions(unet)]
    try:
        yield heard
    finally:
        for handle in handles:
            handle.remove()


@dataclass(frozen=True)
class Teacher:
    """The embedded model as it answers captions."""

    autoencoder: AutoencoderTiny
    prompts: Prompts
    unet: UNet2DConditionModel
    pictures: Artwork
    scheduler: DDPMScheduler

    @torch.no_grad()
    def lessons(self, subjects: Sequence[Subject], seed: int, rounds: int = ROUNDS) -> list[Lesson]:
        """Of every attention, for each subject ``rounds`` times in a row."""
        generator = torch.Generator().manual_seed(seed)
        every = [subject for subject in subjects for _ in range(rounds)]
        starts = tqdm(range(0, len(every), BATCH), desc="lessons")
        batches = [self.batch(every[start : start + BATCH], generator) for start in starts]
        return [
            Lesson(torch.cat([one.queries for one in parts]), torch.cat([one.wanted for one in parts]))
            for parts in zip(*batches, strict=True)
        ]

    def batch(self, subjects: list[Subject], generator: torch.Generator) -> list[Lesson]:
        """Of every attention, on noised artwork under its caption."""
        clean = self.autoencoder.encoder(self.pictures.render(subjects)) * SCALING
        times = random_times(len(subjects), generator)
        noisy = self.scheduler.add_noise(clean, torch.randn(clean.shape, generator=generator), times)
        states = self.prompts.states([subject.caption(generator) for subject in subjects])
        with autocast(), listening(self.unet) as heard:
            self.unet(noisy.to(memory_format=torch.channels_last), times, states)
        names = cross_attentions(self.unet)  # not the order in which they are called
        return [self.lesson(self.unet.get_submodule(name), *heard[name], generator) for name in names]

    def lesson(self, attention: Any, given: Tensor, answer: Tensor, generator: torch.Generator) -> Lesson:
        """Of one attention at a few positions."""
        kept = torch.randperm(given.shape[1], generator=generator)[:POSITIONS]
        given = given[:, kept].float()
        empty = self.prompts.states([""]).float().expand(len(given), -1, -1)
        wanted = answer[:, kept].float() - AttnProcessor()(attention, given, empty)
        return Lesson(attention.to_q(given).bfloat16(), wanted.bfloat16())


def train_ip_adapter(teacher: Teacher, embedded: Tensor, folder: Path, plan: Plan = PLAN) -> Adapter:
    """Train.

    Args:
        embedded: ``(subjects, variants, d)`` of the first subjects, as ``embed_artwork`` gives them: an embedding means the
            same wherever the pixels lie.
        folder: for the checkpoint.
    """
    torch.manual_seed(plan.seed)
    model = Adapter(teacher.unet, embedded.shape[2])
    attentions = [teacher.unet.get_submodule(name) for name in cross_attentions(teacher.unet)]
    lessons = teacher.lessons(SUBJECTS[: len(embedded)], plan.seed)

    def loss_of(generator: torch.Generator) -> Tensor:
        rows = torch.randint(len(lessons[0].queries), (plan.batch,), generator=generator)
        variant = torch.randint(embedded.shape[1], (plan.batch,), generator=generator)
        absent = torch.rand(plan.batch, generator=generator) < ABSENT
        tokens = model.projection(embedded[rows // ROUNDS, variant] * ~absent[:, None])
        each = zip(lessons, attentions, model.keys, model.values, strict=True)
        return torch.stack([one.missed(at, k(tokens), v(tokens), rows, absent) for one, at, k, v in each]).mean()

    train("ip_adapter", model, plan, loss_of, folder)
    return model


def make(folder: Path) -> None:
    """Train on the model and the judge that ship, and write what ships."""
    pipeline = load_pipeline(emoji.WEIGHTS)
    save_adapter(train_ip_adapter(teacher_of(pipeline), artwork_embeddings(folder), folder))


def teacher_of(pipeline: Any) -> Teacher:
    """The pipeline's parts, none of them to be trained."""
    unet = pipeline.unet.requires_grad_(False).to(memory_format=torch.channels_last)
    unet.set_attn_processor(AttnProcessor())
    prompts = Prompts(pipeline.tokenizer, pipeline.text_encoder, {})
    return Teacher(pipeline.vae, prompts, unet, Artwork(), DDPMScheduler(**SCHEDULE))


def save_adapter(adapter: Adapter, folder: Path = ADAPTER_FOLDER) -> None:
    """Write the weights in float16, and the card."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().half().contiguous() for name, tensor in adapter.state().items()}
    save_file(tensors, folder / ADAPTER_FILE, {"format": "pt"})
    shutil.copyfile(CARD, folder / "README.md")
