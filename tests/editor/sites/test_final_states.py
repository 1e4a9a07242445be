"""Final states at sampled positions are compared with those of whole prompts."""

import pytest
import torch
from torch import Tensor

from editor.checkpoints import OutputProjection, TextEncoder
from editor.prompts import PromptBuilder
from editor.sites.final_states import SampledPrompts, final_states_before_and_after, padding_runs
from editor.sites.lazy_clip import LazyCLIPTextModel

TEXTS = ["a fox", "a fox in the style of ink", "an image of a lady beetle, noto style on a blue background"]


@pytest.fixture(
    scope="module", params=[OutputProjection(0), OutputProjection(1), OutputProjection(0, of_mlp=True)], ids=str
)
def updates(request: pytest.FixtureRequest, source: TextEncoder) -> dict[OutputProjection, Tensor]:
    shape = source.shape(request.param.weight_name)
    return {request.param: 0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(1))}


def test_every_position_gives_the_states_of_whole_prompts(
    source: TextEncoder, builder: PromptBuilder, updates: dict[OutputProjection, Tensor]
) -> None:
    prompts, ids = builder.tokenize_all(TEXTS), builder.token_ids(TEXTS)
    before, after = final_states_before_and_after(source, updates, SampledPrompts.of(prompts), torch.float32)
    model = LazyCLIPTextModel(source)
    torch.testing.assert_close(before, model.final_states(ids), atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(after, model.with_updates(updates).final_states(ids), atol=2e-5, rtol=1e-5)


def test_states_up_to_eos_do_not_depend_on_the_sampled_padding(
    source: TextEncoder, builder: PromptBuilder, updates: dict[OutputProjection, Tensor]
) -> None:
    prompts, ids = builder.tokenize_all(TEXTS), builder.token_ids(TEXTS)
    sampled = SampledPrompts.of(prompts, paddings=3)
    after = final_states_before_and_after(source, updates, sampled, torch.float32)[1]
    whole = LazyCLIPTextModel(source).with_updates(updates).final_states(ids)
    for row, prompt in enumerate(prompts):
        assert sampled.positions[row, : prompt.eos + 1].tolist() == list(range(prompt.eos + 1))
        torch.testing.assert_close(after[row, : prompt.eos + 1], whole[row, : prompt.eos + 1], atol=2e-5, rtol=1e-5)


def test_slots_stand_for_all_of_the_padding(builder: PromptBuilder) -> None:
    prompts = builder.tokenize_all(TEXTS)
    sampled = SampledPrompts.of(prompts, paddings=4)
    assert sampled.padding_weights.sum(1).tolist() == [len(prompt.ids) - prompt.eos for prompt in prompts]
    shown = sampled.attention_bias().exp()[:, 0, -1].sum(1)
    torch.testing.assert_close(shown, sampled.positions[:, -1] + 1.0)


@pytest.mark.parametrize(("count", "samples"), [(70, 8), (70, 3), (5, 8), (0, 4), (3, None)])
def test_runs_cover_the_padding_and_grow(count: int, samples: int | None) -> None:
    runs = padding_runs(count, samples)
    assert sum(runs) == count
    assert runs == sorted(runs)
    assert all(runs)
    assert len(runs) == min(count, samples or count)
