"""The input of a later layer, in which a state of the padding stands for a run of positions."""

import pytest
import torch

from editor import emoji
from editor.checkpoints import OutputProjection, open_checkpoint
from editor.prompts import PromptBuilder, TokenizedPrompt, open_prompt_builder
from editor.sites.clip_attention import HiddenStates, TokenPositions
from editor.sites.key_value_pairs import Site, input_states
from editor.sites.lazy_clip import LazyCLIPTextModel, all_positions

TEXTS = ("a fox", "a hot dog in the style of noto on a blue background", "two owls, ink", "")


@pytest.fixture(scope="module")
def model() -> LazyCLIPTextModel:
    base = LazyCLIPTextModel(open_checkpoint(emoji.WEIGHTS).encoders[0])
    generator = torch.Generator().manual_seed(0)
    width = base.source.width
    return base.with_updates({OutputProjection(0): torch.randn(width, width, generator=generator) / width})


@pytest.fixture(scope="module")
def prompts() -> list[TokenizedPrompt]:
    builder: PromptBuilder = open_prompt_builder(emoji.WEIGHTS)
    return builder.tokenize_all(TEXTS)


@pytest.mark.parametrize("of_mlp", [False, True])
@pytest.mark.parametrize("layer", [1, 2])
def test_keys_up_to_the_end_are_exact_and_those_of_the_padding_are_near(
    model: LazyCLIPTextModel, prompts: list[TokenizedPrompt], layer: int, of_mlp: bool
) -> None:
    site = Site(model, model, OutputProjection(layer, of_mlp))
    ids = torch.stack([prompt.ids for prompt in prompts])
    at = all_positions(ids)
    expected = site.inputs_at(model.hidden_states_before(ids, layer), at)[0]
    found = site.inputs_at(input_states(model, prompts, layer), at)[0]
    errors = (found - expected).norm(dim=1) / expected.norm(dim=1)
    in_words = at.positions <= torch.tensor([prompt.eos for prompt in prompts])[at.prompt_index]
    assert errors[in_words].max() < 1e-5
    assert errors[~in_words].mean() < 0.02
    assert errors[~in_words].max() < 0.1


def test_a_row_counts_as_often_as_a_query_sees_it(model: LazyCLIPTextModel) -> None:
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(5, model.source.width, generator=generator)
    states = HiddenStates(values, torch.tensor([[0, 1, 2, 2, 2, 3, 3], [0, 4, 4, 4, 4, 4, 1]]), has_runs=True)
    at = TokenPositions(torch.arange(2).repeat_interleave(7), torch.arange(7).repeat(2))
    attention = model.attention(1)
    torch.testing.assert_close(
        attention.keys(states, at), attention.all_keys(states).flatten(0, 1), atol=1e-5, rtol=1e-5
    )
