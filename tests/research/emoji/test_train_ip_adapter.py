"""The adapter that ships, against diffusers' own reading of it; and its training, on a few pictures."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor

from editor import emoji
from editor.emoji.composites import Artwork
from editor.emoji.profile import PROFILE
from editor.emoji.vocabulary import OBJECT_NAMES
from editor.features.clip.image_conditioned_pipelines import generate_from_embeddings, image_conditioned_pipeline
from editor.features.clip.image_encoder import open_image_encoder
from editor.features.clip.ip_adapter import load_adapted_pipeline
from editor.generation.config import Sampler, native_precision
from editor.generation.pipelines import load_pipeline
from editor.judging.judge import open_judge
from research.emoji.artwork_embeddings import SUBJECTS
from research.emoji.train_ip_adapter import (
    AttentionTargets,
    cross_attentions,
    make_teacher,
    record_attention_io,
    train_ip_adapter,
)
from research.emoji.training_loop import TrainingPlan

TEST_SUBJECTS = [SUBJECTS[place] for place in (0, 37, 122, 203, 310, 404)]


@pytest.fixture(scope="module")
def pipeline() -> Any:
    return load_adapted_pipeline()


@pytest.fixture(scope="module")
def embedded() -> torch.Tensor:
    return open_image_encoder(emoji.JUDGE).embed_pixels((Artwork().render(TEST_SUBJECTS) + 1) / 2)


@torch.no_grad()
def test_training_target_matches_the_attention_of_diffusers(pipeline: Any, embedded: torch.Tensor) -> None:
    """Each attention's answer to a picture, less that to the empty caption, is what the loss takes it to be."""
    unet, count = pipeline.unet, len(embedded)
    ids = pipeline.tokenizer([""] * count, padding="max_length", return_tensors="pt")["input_ids"]
    empty = pipeline.text_encoder(ids).last_hidden_state
    noise = torch.randn(count, 32, 8, 8, generator=torch.Generator().manual_seed(0))
    with record_attention_io(unet) as heard:
        unet(noise, 900, empty, added_cond_kwargs={"image_embeds": [embedded[:, None]]})
    tokens = unet.encoder_hid_proj.image_projection_layers[0](embedded)
    for name in cross_attentions(unet):
        attention, (given, answer) = unet.get_submodule(name), heard[name]
        targets = AttentionTargets(attention.to_q(given), answer - AttnProcessor()(attention, given, empty))
        key, value = attention.processor.to_k_ip[0](tokens), attention.processor.to_v_ip[0](tokens)
        rows, absent = torch.arange(count), torch.zeros(count, dtype=torch.bool)
        assert float(targets.loss(attention, key, value, rows, absent)) < 1e-6
        assert float(targets.differences.norm()) > 0.1, "the picture adds something"


def test_adapter_reproduces_a_picture(pipeline: Any, embedded: torch.Tensor) -> None:
    sampler = Sampler(10, 2.0, native_precision())
    images = generate_from_embeddings(
        image_conditioned_pipeline(pipeline), sampler, embedded, range(len(TEST_SUBJECTS))
    )
    judge = open_judge(emoji.JUDGE, emoji.WEIGHTS, PROFILE)
    found, _ = judge.classify("object", judge.embed_images(images), judge.class_names("object"))
    hits = sum(OBJECT_NAMES[subject.object] == name for subject, name in zip(TEST_SUBJECTS, found, strict=True))
    assert hits >= len(TEST_SUBJECTS) / 2, found


def test_training_reduces_the_loss(tmp_path: Path) -> None:
    """The loss on a few pictures falls by more than half. Without a picture nothing is added."""
    teacher = make_teacher(load_pipeline(emoji.WEIGHTS))
    few = SUBJECTS[:6]
    embedded = open_image_encoder(emoji.JUDGE).embed_pixels((Artwork().render(list(few)) + 1) / 2)[:, None]

    def loss_after(steps: int) -> float:
        plan = TrainingPlan(steps=steps, batch=12, learning_rate=3e-3, warmup=5, averaging=0.5)
        adapter = train_ip_adapter(teacher, embedded, tmp_path / str(steps), plan)
        names = cross_attentions(teacher.unet)
        targets, tokens = teacher.record_targets(few, 5, rounds=1), adapter.projection(embedded[:, 0])
        rows, absent = torch.arange(len(few)), torch.zeros(len(few), dtype=torch.bool)
        each = zip(targets, names, adapter.keys, adapter.values, strict=True)
        with torch.no_grad():
            return sum(
                float(one.loss(teacher.unet.get_submodule(name), key(tokens), value(tokens), rows, absent))
                for one, name, key, value in each
            ) / len(names)

    assert loss_after(60) < loss_after(1) / 2
