"""Residuals are held against what they promise: put where the attention's output is, they make equal what the aim says."""

import pytest
import torch
from torch import Tensor

from editor.checkpoints import TextEncoder
from editor.prompts import Concept, Destination, PromptBook, Removal, aligned_columns
from editor.prompts.token_alignment import Pair
from editor.sites.key_value_pairs import Site, pair_columns, retained_columns, roles, roles_of
from editor.sites.lazy_clip import Tower
from editor.solver.config import Aim

OWL = Removal(Concept("fox"), Destination("owl", "replacement"))


@pytest.fixture(scope="module")
def site(source: TextEncoder) -> Site:
    tower = Tower(source).exact()
    return Site(tower, tower, 0)


@pytest.fixture(scope="module")
def pairs(book: PromptBook) -> list[Pair]:
    return book.held_out_pairs(OWL, 4)


def ids(pairs: list[Pair], side: str) -> Tensor:
    return torch.stack([getattr(pair, side).ids for pair in pairs])


def places(pairs: list[Pair], aim: Aim) -> tuple[Tensor, Tensor, Tensor]:
    """Rows, positions as spoken and as meant of the columns."""
    aligned = [(row, c.key, c.value) for row, pair in enumerate(pairs) for c in aligned_columns(pair, roles_of(aim))]
    rows, spoken, meant = (torch.tensor(part) for part in zip(*aligned, strict=True))
    return rows, spoken, meant


def with_residuals(site: Site, pairs: list[Pair], aim: Aim) -> Tensor:
    """The stream after the attention, as spoken, with the residuals added at their places."""
    rows, spoken, _ = places(pairs, aim)
    middle = site.base.after_attention(site.entering(ids(pairs, "concept")), 0)
    return middle.index_put((rows, spoken), pair_columns(site, pairs, aim).residuals, accumulate=True)


def test_the_attention_aim_makes_its_output_equal(site: Site, pairs: list[Pair]) -> None:
    rows, _spoken, meant = places(pairs, "attention")
    columns = pair_columns(site, pairs, "attention")
    middle = site.base.after_attention(site.entering(ids(pairs, "destination")), 0)
    states = site.entering(ids(pairs, "destination"))
    wanted = (
        middle[rows, meant] - states.values[states.index[rows, meant]] - site.base.read(0, "self_attn.out_proj.bias")
    )
    torch.testing.assert_close(columns.keys @ site.weight.T + columns.residuals, wanted, atol=1e-10, rtol=0)


def test_the_residual_aim_makes_the_stream_equal(site: Site, pairs: list[Pair]) -> None:
    rows, spoken, meant = places(pairs, "residual")
    wanted = site.base.after_attention(site.entering(ids(pairs, "destination")), 0)
    torch.testing.assert_close(
        with_residuals(site, pairs, "residual")[rows, spoken], wanted[rows, meant], atol=1e-10, rtol=0
    )


def test_the_last_layer_aim_makes_the_last_states_more_equal(site: Site, pairs: list[Pair]) -> None:
    rows, spoken, meant = places(pairs, "last_layer")
    wanted = site.base.final(ids(pairs, "destination"))[rows, meant]

    def missed(middle: Tensor) -> float:
        return float((site.base.completed(middle, 0)[rows, spoken] - wanted).norm())

    untouched = site.base.after_attention(site.entering(ids(pairs, "concept")), 0)
    assert missed(with_residuals(site, pairs, "last_layer")) < 0.2 * missed(untouched)


def test_roles_weigh_the_same_whatever_their_length(site: Site, pairs: list[Pair]) -> None:
    columns = pair_columns(site, pairs, "attention")
    by_pair = torch.zeros(len(pairs), dtype=torch.float64).index_add(0, columns.pairs, columns.weights)
    trailing = torch.tensor([pair.concept.eos > pair.last_subject + 1 for pair in pairs])
    expected = torch.tensor([pair.weight for pair in pairs]) * (3 + trailing)
    torch.testing.assert_close(by_pair, expected.double(), atol=1e-12, rtol=0)


def test_what_is_kept_stands_for_every_word_eos_and_padding(site: Site, book: PromptBook) -> None:
    prompts = book.tokenise_all(["a pizza", "an owl in the style of ink"])
    kept = retained_columns(site, prompts)
    for row, prompt in enumerate(prompts):
        own = kept.weights[kept.prompts == row]
        assert float(own.sum()) == pytest.approx(4.0)
        assert len(own) == sum(len(places) for places, _ in roles(prompt))
        assert next(places for places, _ in roles(prompt)) == list(range(1, prompt.eos))
