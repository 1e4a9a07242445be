"""Selection of latents: planted latents, and concepts that no latent represents."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from editor.errors import FeatureError
from editor.features.sae.feature_selection import ConceptActivations, LatentSelection, select_latents

ROWS, LATENTS = 900, 40


def planted_activations(signal: float = 4.0, latent: int = 7, on_retain: float = 0.0) -> ConceptActivations:
    """Return random activations with one latent raised on the concept's rows, and optionally on the retained rows."""
    generator = torch.Generator().manual_seed(0)
    has, retain = torch.arange(ROWS) % 6 == 0, torch.arange(ROWS) % 6 == 1
    scores = torch.randn(ROWS, LATENTS, generator=generator)
    scores[:, latent] += signal * has + on_retain * retain
    codes = (scores - 2).relu()
    rows = scores @ torch.randn(LATENTS, 12, generator=generator)
    rows[:, 0] += 8 * has
    train = torch.arange(ROWS) < ROWS // 2
    return ConceptActivations(rows, scores, codes, has, retain, train)


def found_by_all_seeds() -> Tensor:
    return torch.ones(LATENTS)


def selection_of(found: ConceptActivations, stability: Tensor | None = None) -> LatentSelection:
    return select_latents(found, found_by_all_seeds() if stability is None else stability)


def test_planted_latent_is_selected_and_confirmed():
    found = selection_of(planted_activations())
    assert found.latents == [7]
    (feature,) = found.concept_latents
    assert feature.train_auc > 0.95
    assert feature.auc.low > 0.9
    assert feature.q_value < 1e-6
    assert feature.d_prime == pytest.approx(4, abs=0.6)
    score = found.score(planted_activations().scores)
    assert score[planted_activations().has].mean() > score[~planted_activations().has].mean() + 2


def test_probe_is_reported_when_no_latent_is_selected():
    found = selection_of(planted_activations(signal=0))
    assert not found.has_latents
    assert found.probe.low > 0.6
    with pytest.raises(FeatureError, match="No latent"):
        found.score(planted_activations().scores)


@pytest.mark.parametrize(
    ("found", "stability", "reason"),
    [
        (planted_activations(on_retain=4), found_by_all_seeds(), "respond to retained concepts"),
        (planted_activations(), torch.full((LATENTS,), 1 / 3), "not found by other seeds"),
        (
            replace(planted_activations(), codes=planted_activations().scores.exp()),
            found_by_all_seeds(),
            "active almost everywhere",
        ),
    ],
)
def test_unsuitable_latent_is_rejected_with_the_reason(found, stability, reason):
    selection = selection_of(found, stability)
    assert not selection.has_latents
    assert selection.rejected[reason] == 1


def test_selection_does_not_use_the_test_rows():
    """A latent that responds on the test rows only is not selected; one on the training rows only is not confirmed."""
    late, early = planted_activations(signal=0), planted_activations(signal=0)
    late.scores[:, 3] += 5 * (late.has & ~late.train)
    early.scores[:, 3] += 5 * (early.has & early.train)
    assert 3 not in selection_of(late).latents
    found = selection_of(replace(early, codes=(early.scores - 2).relu()))
    assert not found.has_latents
    assert found.rejected["not confirmed on the test rows"] == 1


def test_scores_agree_when_several_latents_represent_the_concept():
    found = planted_activations()
    for latent in (8, 9, 10, 11):
        found.scores[:, latent] += 4 * found.has
    found = replace(found, codes=(found.scores - 4).relu())
    assert selection_of(found).agreement > 0.9
    assert selection_of(planted_activations(signal=0)).agreement < 0.5
    assert sorted(selection_of(found).latents) == [7, 8, 9, 10, 11]


def test_half_without_the_concept_is_rejected():
    found = planted_activations()
    with pytest.raises(FeatureError, match="must each include"):
        selection_of(replace(found, has=found.has & found.train))
