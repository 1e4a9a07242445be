"""Contrastive training (CLIP, Radford et al. 2021) of the pipeline's text encoder and of the judge.

Steps of ``python -m research.emoji.build``.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from editor.emoji.artwork import SIZE
from editor.emoji.composites import SHIFTS, Artwork, Subject
from research.emoji.random_subjects import random_caption, random_subjects
from research.emoji.train_tokenizer import CONTEXT
from research.emoji.training_loop import TrainingPlan, autocast, train

Augmentation = Callable[[Tensor, torch.Generator], Tensor]


@dataclass(frozen=True)
class CLIPShape:
    """Widths and depths of both encoders; heads are 64 wide in the text encoder, 48 in the image encoder."""

    text_width: int
    text_mlp: int
    text_layers: int
    image_width: int
    image_layers: int
    patch: int
    projection: int


ENCODER = CLIPShape(
    text_width=384, text_mlp=768, text_layers=6, image_width=192, image_layers=6, patch=16, projection=256
)
"""A width of 384 allows many removals (docs/explanation/emoji.md)."""
ENCODER_PLAN = TrainingPlan(steps=600, batch=256, learning_rate=8e-4, weight_decay=0.05)
JUDGE = CLIPShape(
    text_width=128, text_mlp=512, text_layers=4, image_width=192, image_layers=5, patch=16, projection=192
)
JUDGE_PLAN = TrainingPlan(steps=520, batch=256, shards=2, learning_rate=1e-3, seed=7, weight_decay=0.05)


def build_clip(shape: CLIPShape, tokenizer: CLIPTokenizer, seed: int) -> CLIPModel:
    """Return a CLIP with random weights."""
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": shape.text_width,
        "intermediate_size": shape.text_mlp,
        "num_hidden_layers": shape.text_layers,
        "num_attention_heads": shape.text_width // 64,
        "max_position_embeddings": CONTEXT,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "projection_dim": shape.projection,
    }
    image = {
        "hidden_size": shape.image_width,
        "intermediate_size": shape.image_width * 4,
        "num_hidden_layers": shape.image_layers,
        "num_attention_heads": shape.image_width // 48,
        "image_size": SIZE,
        "patch_size": shape.patch,
        "projection_dim": shape.projection,
    }
    torch.manual_seed(seed)
    config = CLIPConfig(
        text_config=text, vision_config=image, projection_dim=shape.projection, attn_implementation="eager"
    )
    return CLIPModel(config)


def tokenize(tokenizer: CLIPTokenizer, captions: list[str]) -> Tensor:
    """Return token ids padded to the longest caption. Tokens after EOS do not affect the pooled output (causal mask)."""
    ids: Tensor = tokenizer(captions, padding="longest", truncation=True, return_tensors="pt")["input_ids"]
    return ids


def contrastive_loss(clip: CLIPModel, ids: Tensor, pixels: Tensor) -> Tensor:
    """Return the symmetric cross-entropy over the batch's similarities."""
    with autocast():
        texts = clip.text_projection(clip.text_model(input_ids=ids).pooler_output)
        images = clip.visual_projection(clip.vision_model(pixel_values=pixels).pooler_output)
    logits = F.normalize(texts.float()) @ F.normalize(images.float()).T * clip.logit_scale.exp().clamp(max=100)
    truth = torch.arange(len(ids))
    return (F.cross_entropy(logits, truth) + F.cross_entropy(logits.T, truth)) / 2


def random_shift(generator: torch.Generator) -> tuple[int, int]:
    """Draw one of the training shifts."""
    return SHIFTS[int(torch.randint(len(SHIFTS), (), generator=generator))]


def no_augmentation(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Return the pixels unchanged."""
    return pixels


def degrade(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Add flaws that generated images have and artwork has not: soft edges, noise, changes of contrast and brightness."""
    n = len(pixels)
    side = int(torch.randint(20, SIZE + 1, (), generator=generator))
    small = F.interpolate(pixels, side, mode="bilinear", antialias=True)
    soft = F.interpolate(small, SIZE, mode="bilinear")
    mixed = torch.lerp(pixels, soft, torch.rand((n, 1, 1, 1), generator=generator))
    contrast = 1 + 0.3 * (torch.rand((n, 1, 1, 1), generator=generator) - 0.5)
    brightness = 0.2 * (torch.rand((n, 3, 1, 1), generator=generator) - 0.5)
    noise = 0.15 * torch.rand((n, 1, 1, 1), generator=generator) * torch.randn(pixels.shape, generator=generator)
    return mixed * contrast + brightness + noise


def random_wide_shift(generator: torch.Generator) -> tuple[int, int]:
    """Draw a shift of up to 2 pixels in both directions."""
    down, right = (torch.randint(-2, 3, (2,), generator=generator)).tolist()
    return down, right


def same_background_subjects(count: int, generator: torch.Generator) -> list[Subject]:
    """Draw subjects that in three of four batches share a background, so that only object and style discriminate."""
    subjects = random_subjects(count, generator)
    one = subjects[0].background if torch.rand((), generator=generator) < 0.75 else None
    return subjects if one is None else [replace(subject, background=one) for subject in subjects]


def train_clip(
    name: str,
    shape: CLIPShape,
    plan: TrainingPlan,
    tokenizer: CLIPTokenizer,
    folder: Path,
    augment: Augmentation = no_augmentation,
    shift: Callable[[torch.Generator], tuple[int, int]] = random_shift,
    batch: Callable[[int, torch.Generator], list[Subject]] = random_subjects,
) -> CLIPModel:
    """Train a CLIP on random captions and composites."""
    pictures, clip = Artwork(), build_clip(shape, tokenizer, plan.seed)

    def loss_of(generator: torch.Generator) -> Tensor:
        subjects = batch(plan.batch, generator)
        ids = tokenize(tokenizer, [random_caption(subject, generator) for subject in subjects])
        return contrastive_loss(clip, ids, augment(pictures.render(subjects, shift(generator)), generator))

    train(name, clip, plan, loss_of, folder)
    return clip
