"""The parts that make the embedded model, each at a size that trains in a second."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from editor.emoji.artwork import SHEET, background_colours, composite_on, load_sheet, shift_pictures
from editor.emoji.composites import Artwork, Subject
from editor.emoji.vocabulary import (
    HELD_OUT_WORDINGS,
    OBJECT_NAMES,
    PLAIN_WORDINGS,
    STYLED_WORDINGS,
    STYLES,
    caption,
)
from research.emoji.random_subjects import random_caption, random_subjects
from research.emoji.train_clip import tokenize
from research.emoji.train_tokenizer import all_captions, train_tokenizer
from research.emoji.train_vae import EQUALISING_EXPONENT, SCALING, build_with_pca_encoder, principal_components
from research.emoji.training_loop import LossFn, TrainingPlan, TrainingRun, train

PLAN = TrainingPlan(steps=12, batch=4, learning_rate=0.05, warmup=2, shards=2)


def regression() -> tuple[nn.Linear, LossFn]:
    torch.manual_seed(0)
    model = nn.Linear(3, 1)

    def loss_of(generator: torch.Generator) -> Tensor:
        x = torch.randn(4, 3, generator=generator)
        return (model(x) - x.sum(1, keepdim=True)).square().mean()

    return model, loss_of


def test_interrupted_training_ends_with_the_same_weights(tmp_path: Path) -> None:
    whole, loss_of = regression()
    train("whole", whole, PLAN, loss_of, tmp_path)
    first, loss_of = regression()
    run = TrainingRun(first, PLAN)
    for _ in range(5):
        run.train_step(loss_of)
    run.save(tmp_path / "parts.safetensors")
    second, loss_of = regression()
    train("parts", second, PLAN, loss_of, tmp_path)
    torch.testing.assert_close(second.weight, whole.weight, rtol=0, atol=0)


def test_training_reduces_the_loss_and_writes_a_log(tmp_path: Path) -> None:
    model, loss_of = regression()
    train("model", model, TrainingPlan(steps=200, batch=4, learning_rate=0.05), loss_of, tmp_path)
    torch.testing.assert_close(model.weight, torch.ones(1, 3), atol=0.05, rtol=0)
    steps = [json.loads(line)["step"] for line in (tmp_path / "model.jsonl").read_text().splitlines()]
    assert steps == list(range(20, 201, 20))


def test_gradients_are_averaged_over_shards() -> None:
    model, loss_of = regression()
    run = TrainingRun(model, PLAN)
    gradients = [run.shard(loss_of, index)[1][0] for index in range(2)]
    run.train_step(loss_of)
    clipped = torch.stack(gradients).mean(0)
    assert model.weight.grad is not None
    cosine = F.cosine_similarity(model.weight.grad.flatten(), clipped.flatten(), dim=0)
    assert float(cosine) == pytest.approx(1.0)


def test_artwork_is_small_and_complete() -> None:
    sheet = load_sheet()
    assert SHEET.stat().st_size <= 4_000_000
    assert sheet.shape == (len(OBJECT_NAMES), len(STYLES), 4, 64, 64)
    coverage = sheet[:, :, 3].mean((-2, -1))
    assert float(coverage.min()) > 0.02, "no picture is empty"
    assert len(OBJECT_NAMES) == len(set(OBJECT_NAMES)) >= 96


def test_styles_of_an_object_differ() -> None:
    sheet = load_sheet()
    flat = composite_on(sheet.flatten(0, 1), torch.ones(len(sheet) * len(STYLES), 3)).reshape(
        len(sheet), len(STYLES), -1
    )
    gaps = (flat[:, :, None] - flat[:, None]).abs().mean(-1) + torch.eye(len(STYLES))
    assert float(gaps.min()) > 0.015


def test_shifts_preserve_the_picture_and_reveal_background() -> None:
    picture = load_sheet()[:1, 1]
    for shift in ((2, 0), (-2, 0), (0, 2), (0, -2)):
        moved = shift_pictures(picture, shift)
        assert float(moved[:, 3].sum()) == pytest.approx(float(picture[:, 3].sum()))
    blue = background_colours()[1:2]
    corner = composite_on(shift_pictures(picture, (2, 2)), blue)[0, :, 0, 0]
    torch.testing.assert_close(corner, blue[0] * 2 - 1)


def test_every_caption_fits_and_any_text_can_be_encoded() -> None:
    tokenizer = train_tokenizer()
    assert max(len(ids) for ids in tokenizer(list(all_captions()))["input_ids"]) <= tokenizer.model_max_length
    text = "van gogh's dög 犬"
    assert tokenizer.unk_token_id not in tokenizer(text)["input_ids"][1:-1]
    pieces = [len(tokenizer.tokenize(name)) for name in OBJECT_NAMES]
    assert sum(count > 1 for count in pieces) > len(pieces) / 2, "most names are several tokens, as in the real one"


def test_held_out_wordings_are_not_in_training_captions() -> None:
    assert set(HELD_OUT_WORDINGS).isdisjoint({*STYLED_WORDINGS, *PLAIN_WORDINGS})
    texts = {caption(wording, "owl", "ink") for wording in HELD_OUT_WORDINGS}
    assert texts.isdisjoint(all_captions())


def test_caption_without_style_has_the_default_style() -> None:
    generator = torch.Generator().manual_seed(0)
    texts = {random_caption(Subject(0, style, 0), generator) for style in range(len(STYLES)) for _ in range(50)}
    plain = [text for text in texts if not any(style in text for style in STYLES)]
    assert plain
    others = {random_caption(Subject(0, STYLES.index("ink"), 0), generator) for _ in range(50)}
    assert all("ink" in text for text in others)


def test_batches_are_reproducible_and_have_distinct_pictures() -> None:
    first, second = (random_subjects(300, torch.Generator().manual_seed(3)) for _ in range(2))
    assert first == second
    assert len({(s.object, s.style) for s in first}) == 300
    white = sum(s.background == 0 for s in first) / 300
    assert 0.5 <= white <= 0.68


def test_padding_after_eos_does_not_change_the_pooled_output() -> None:
    tokenizer = train_tokenizer()
    ids = tokenize(tokenizer, ["a fox", "an image of a lady beetle, noto style"])
    assert ids.shape[1] < tokenizer.model_max_length


def test_encoder_computes_the_principal_components() -> None:
    """The strided convolutions against PCA of unfolded patches, on images the code was not fitted on."""
    model, pictures = build_with_pca_encoder(0), Artwork()
    fitted = pictures.render(random_subjects(480, torch.Generator().manual_seed(0)))
    mean, components, deviations = principal_components((fitted + 1) / 2)
    image = pictures.render([Subject(3, 2, 4)], (1, -2))
    patches = F.unfold((image + 1) / 2, 8, stride=8)[0].double()
    wanted = deviations**EQUALISING_EXPONENT
    scale = wanted / wanted.square().mean().sqrt() / deviations
    code = (components @ (patches - mean[:, None])) * scale[:, None]
    with torch.no_grad():
        latents = model.encoder(image)[0] * SCALING
    torch.testing.assert_close(latents.flatten(1).double(), code, atol=1e-4, rtol=1e-4)
