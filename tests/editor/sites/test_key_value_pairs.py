"""Adding the residuals to the attention's output must match the activation that the aim names."""

import pytest
import torch
from torch import Tensor

from editor.checkpoints import OutputProjection, TextEncoder
from editor.prompts import Concept, Destination, PromptBuilder, ResolvedRemoval, align_tokens
from editor.prompts.token_alignment import PromptPair
from editor.sites.key_value_pairs import (
    WORD_WEIGHT,
    Aim,
    Site,
    regression_rows,
    retained_keys,
    retained_positions,
    role_weights_for,
)
from editor.sites.lazy_clip import LazyCLIPTextModel

OWL = ResolvedRemoval(Concept("fox"), Destination("owl", "replacement"))


@pytest.fixture(scope="module")
def site(source: TextEncoder) -> Site:
    model = LazyCLIPTextModel(source).in_float64()
    return Site(model, model, OutputProjection(0))


@pytest.fixture(scope="module")
def pairs(builder: PromptBuilder) -> list[PromptPair]:
    return builder.held_out_pairs(OWL, 4)


def ids(pairs: list[PromptPair], side: str) -> Tensor:
    return torch.stack([getattr(pair, side).ids for pair in pairs])


def positions(pairs: list[PromptPair], aim: Aim) -> tuple[Tensor, Tensor, Tensor]:
    """Return prompt, position and target position of each aligned token."""
    aligned = [
        (i, token.key, token.value)
        for i, pair in enumerate(pairs)
        for token in align_tokens(pair, role_weights_for(aim))
    ]
    index, at, target_at = (torch.tensor(part) for part in zip(*aligned, strict=True))
    return index, at, target_at


def with_residuals(site: Site, pairs: list[PromptPair], aim: Aim) -> Tensor:
    """Return the residual stream of the concept's prompts after attention, with the residuals added."""
    index, at, _ = positions(pairs, aim)
    stream = site.base.residual_after_attention(site.hidden_states(ids(pairs, "concept")), 0)
    return stream.index_put((index, at), regression_rows(site, pairs, aim).residuals, accumulate=True)


def test_attention_aim_matches_the_attention_output(site: Site, pairs: list[PromptPair]) -> None:
    index, _at, target_at = positions(pairs, "attention")
    rows = regression_rows(site, pairs, "attention")
    stream = site.base.residual_after_attention(site.hidden_states(ids(pairs, "destination")), 0)
    states = site.hidden_states(ids(pairs, "destination"))
    wanted = (
        stream[index, target_at]
        - states.values[states.index[index, target_at]]
        - site.base.layer_tensor(0, "self_attn.out_proj.bias")
    )
    torch.testing.assert_close(rows.keys @ site.weight.T + rows.residuals, wanted, atol=1e-10, rtol=0)


def test_residual_aim_matches_the_residual_stream(site: Site, pairs: list[PromptPair]) -> None:
    index, at, target_at = positions(pairs, "residual")
    wanted = site.base.residual_after_attention(site.hidden_states(ids(pairs, "destination")), 0)
    torch.testing.assert_close(
        with_residuals(site, pairs, "residual")[index, at], wanted[index, target_at], atol=1e-10, rtol=0
    )


def test_last_layer_aim_approaches_the_final_states(site: Site, pairs: list[PromptPair]) -> None:
    index, at, target_at = positions(pairs, "last_layer")
    wanted = site.base.final_states(ids(pairs, "destination"))[index, target_at]

    def error(stream: Tensor) -> float:
        return float((site.base.final_states_from(stream, 0)[index, at] - wanted).norm())

    untouched = site.base.residual_after_attention(site.hidden_states(ids(pairs, "concept")), 0)
    assert error(with_residuals(site, pairs, "last_layer")) < 0.2 * error(untouched)


def test_role_weights_do_not_depend_on_the_number_of_positions(site: Site, pairs: list[PromptPair]) -> None:
    rows = regression_rows(site, pairs, "attention")
    by_pair = torch.zeros(len(pairs), dtype=torch.float64).index_add(0, rows.pair_index, rows.weights)
    trailing = torch.tensor([pair.concept.eos > pair.last_subject + 1 for pair in pairs])
    # The subject and the words after it weigh WORD_WEIGHT each, EOS and the padding 1 each.
    expected = torch.tensor([pair.weight for pair in pairs], dtype=torch.float64) * (
        2 + WORD_WEIGHT * (1 + trailing.double())
    )
    torch.testing.assert_close(by_pair, expected.double(), atol=1e-12, rtol=0)


def test_retained_keys_cover_words_eos_and_padding(site: Site, builder: PromptBuilder) -> None:
    prompts = builder.tokenize_all(["a pizza", "an owl in the style of ink"])
    retained = retained_keys(site, prompts)
    for index, prompt in enumerate(prompts):
        own = retained.weights[retained.prompt_index == index]
        assert float(own.sum()) == pytest.approx(2 + 2 * WORD_WEIGHT)
        assert len(own) == sum(len(positions) for positions, _ in retained_positions(prompt))
        assert next(positions for positions, _ in retained_positions(prompt)) == list(range(1, prompt.eos))
