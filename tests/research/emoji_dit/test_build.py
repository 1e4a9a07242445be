"""The parts that make `emoji-dit`, with random weights."""

import json
from functools import cache
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler
from transformers import T5Tokenizer

from editor import emoji
from editor.emoji.profile import DIT_PROFILE
from editor.emoji.vocabulary import OBJECT_NAMES, STYLES
from editor.generation.guidance import is_timestep_distilled, is_undistilled_flux
from editor.prompts.profile import PROFILE_FILE, Profile
from research.emoji.train_tokenizer import CONTEXT as CLIP_CONTEXT
from research.emoji.train_tokenizer import all_captions
from research.emoji_dit.assemble import SCHEDULE, save_pipeline
from research.emoji_dit.route_capacity import RouteCapacity, RouteChecks, solve_update
from research.emoji_dit.train_t5 import (
    CONTEXT,
    ContrastiveT5,
    build_t5,
    contrastive_loss,
    token_ids,
    train_t5_tokenizer,
)
from research.emoji_dit.train_transformer import (
    DROPPED_SHARE,
    build_transformer,
    drop_captions,
    make_denoiser_call,
    pack_latents,
    sample_times,
    velocity_loss,
)


@cache
def tokenizer() -> T5Tokenizer:
    return train_t5_tokenizer()


def test_captions_are_spelt_back_and_end_before_the_padding() -> None:
    captions = sorted(all_captions())[::97]
    for caption, ids in zip(captions, token_ids(tokenizer(), captions).tolist(), strict=True):
        end = ids.index(tokenizer().eos_token_id)
        assert tokenizer().decode(ids[:end]) == caption
        assert set(ids[end + 1 :]) == {tokenizer().pad_token_id}
        assert end + 1 <= CONTEXT - 8, "padding is left in every prompt"


def test_letters_that_no_caption_has_are_unknown() -> None:
    ids = token_ids(tokenizer(), ["a fox 狐"])[0].tolist()
    assert tokenizer().unk_token_id in ids


def test_an_untrained_encoder_guesses_at_chance() -> None:
    model = ContrastiveT5(tokenizer(), seed=1)
    captions = [f"a {name}" for name in OBJECT_NAMES[:8]]
    loss = contrastive_loss(model, model.token_ids(captions), torch.rand(8, 3, 64, 64))
    assert abs(float(loss.detach()) - np.log(8)) < 1.0


def test_a_new_denoiser_predicts_zeros_and_learns_from_all_its_inputs() -> None:
    model = build_transformer(1, text_width=256, pooled_width=384)
    predict = make_denoiser_call(model, CONTEXT)
    generator = torch.Generator().manual_seed(0)
    inputs = (
        torch.randn(2, 16, 128, generator=generator),
        torch.rand(2, generator=generator),
        torch.randn(2, CONTEXT, 256, generator=generator),
        torch.randn(2, 384, generator=generator),
    )
    assert not predict(*inputs).any()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.05, generator=generator)
    found = predict(*inputs)
    for changed in range(4):
        others = [part + 0.5 if i == changed else part for i, part in enumerate(inputs)]
        assert not torch.allclose(predict(*others), found)


def test_the_loss_of_a_velocity_is_that_of_the_latents_over_the_time() -> None:
    generator = torch.Generator().manual_seed(0)
    clean, noise, predicted = torch.randn(3, 4, 16, 128, generator=generator)
    times = torch.tensor([0.1, 0.4, 0.7, 1.0])
    noisy = torch.lerp(clean, noise, times[:, None, None])
    velocity = (noisy - predicted) / times[:, None, None]
    expected = (velocity - (noise - clean)).square().mean()
    torch.testing.assert_close(velocity_loss(predicted, clean, times), expected, rtol=1e-4, atol=1e-5)


def test_the_solver_reaches_the_latents_that_a_perfect_denoiser_predicts() -> None:
    scheduler = DPMSolverMultistepScheduler(**SCHEDULE)
    scheduler.set_timesteps(8, mu=0.5)
    clean = torch.randn(1, 16, 128, generator=torch.Generator().manual_seed(1))
    sample = torch.randn(1, 16, 128, generator=torch.Generator().manual_seed(2))
    for time in scheduler.timesteps:
        sample = scheduler.step(clean, time, sample, return_dict=False)[0]
    torch.testing.assert_close(sample, clean, atol=1e-2, rtol=0)


def test_both_routes_are_dropped_in_a_third_of_the_samples() -> None:
    dropped = drop_captions(["a fox"] * 6000, torch.Generator().manual_seed(0)).count("")
    assert abs(dropped / 6000 - DROPPED_SHARE) < 0.02
    times = sample_times(6000, torch.Generator().manual_seed(0))
    assert 0 < float(times.min()) < float(times.max()) < 1
    assert float(times.mean()) > 0.5, "noise is favoured"


def test_packed_latents_are_tokens_of_two_by_two_positions() -> None:
    latents = torch.arange(32 * 64, dtype=torch.float32).reshape(1, 32, 8, 8)
    packed = pack_latents(latents)
    assert packed.shape == (1, 16, 128)
    torch.testing.assert_close(packed[0, 0].reshape(32, 2, 2), latents[0, :, :2, :2])


def test_an_update_maps_the_removed_keys_and_leaves_the_empty_prompt() -> None:
    generator = torch.Generator().manual_seed(0)

    def draw(rows: int) -> torch.Tensor:
        return torch.randn(rows, 24, generator=generator, dtype=torch.float64)

    weight, keys, wanted, null = draw(12), draw(2), draw(2), draw(3)
    update = solve_update(weight, keys, wanted, 1e-6 * draw(4), null)
    assert float((null @ update.T).abs().max()) < 1e-9
    torch.testing.assert_close(keys @ (weight + update).T, wanted @ weight.T, atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"artwork_accuracy": 0.9}, "nearest artwork"),
        ({"padding_accuracy": 0.1}, "padding"),
        ({"capacity": [RouteCapacity("pooled", 50, 0.0, 0.5)]}, "retained objects, pooled"),
    ],
)
def test_a_figure_out_of_its_bounds_stops_the_build(changes: dict[str, object], name: str) -> None:
    good = {
        "artwork_accuracy": 1.0,
        "padding_accuracy": 0.9,
        "effective_rank": {},
        "capacity": [RouteCapacity("pooled", 50, 0.0, 0.95)],
    }
    RouteChecks(**good).check()  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match=name):
        RouteChecks(**good | changes).check()  # type: ignore[arg-type]


def test_the_saved_folder_is_a_flux_pipeline_with_the_embedded_encoder(tmp_path: Path) -> None:
    transformer = build_transformer(1, text_width=256, pooled_width=384)
    save_pipeline(tmp_path, tokenizer(), build_t5(tokenizer(), 1), transformer)
    pipeline = diffusers.FluxPipeline.from_pretrained(tmp_path)
    assert (pipeline.tokenizer.model_max_length, pipeline.tokenizer_2.model_max_length) == (CLIP_CONTEXT, CONTEXT)
    assert is_undistilled_flux(pipeline)
    assert not is_timestep_distilled(pipeline)
    assert Profile.model_validate_json((tmp_path / PROFILE_FILE).read_bytes()) == DIT_PROFILE
    assert set(DIT_PROFILE.styles) == set(STYLES)
    for file in ("text_encoder/model.safetensors", "vae/diffusion_pytorch_model.safetensors"):
        assert (tmp_path / file).read_bytes() == (emoji.WEIGHTS / file).read_bytes()
    assert json.loads((tmp_path / "model_index.json").read_text())["_class_name"] == "FluxPipeline"
