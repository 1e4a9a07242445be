"""Feature scores of planted edits: damped, shifted and erased activations with known features."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from api_schemas.feature_scores import Place, SaeScore
from editor.features.sae import SparseAutoencoder
from editor.judging.feature_scores.did import ConceptScores, estimate_residual
from editor.judging.feature_scores.sae import PairedActivations, sae_score

CONCEPTS, WIDTH, PROMPTS, SEEDS = 13, 48, 8, 2
PLACE = Place(module="mid_block", timestep=200, protocol="planted", digest="0")


@dataclass(frozen=True)
class PlantedActivations:
    """Activations in which concept i adds the orthonormal direction i, with a common strong mean and noise."""

    directions: Tensor
    before: Tensor
    about: list[str]
    prompts: list[str]

    def score_edit(self, after: Tensor, sae: SparseAutoencoder | None = None) -> SaeScore:
        features = {f"concept {i}": [i] for i in range(CONCEPTS)}
        readings = PairedActivations(self.before, after, self.prompts, self.about)
        return sae_score(sae or self.sae(), readings, features, 0, PLACE)

    def sae(self) -> SparseAutoencoder:
        """Return an autoencoder whose dictionary is the planted directions."""
        sae = SparseAutoencoder(WIDTH, WIDTH, CONCEPTS)
        with torch.no_grad():
            sae.encoder.copy_(self.directions)
            sae.decoder.copy_(self.directions)
            sae.mean.copy_(self.before.mean(0))
        return sae

    def without(self, share: float) -> Tensor:
        """Return the activations after removing a share of the concept's direction from its prompts."""
        own = torch.tensor([name == "concept 0" for name in self.about]).float()
        level = (self.before @ self.directions[0]) - (self.before @ self.directions[0])[own == 0].mean()
        return self.before - share * (own * level)[:, None] * self.directions[0]


@pytest.fixture(scope="module")
def world() -> PlantedActivations:
    rng = torch.Generator().manual_seed(0)
    directions = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=rng))[0]
    rows, about, prompts = [], [], []
    for concept in range(CONCEPTS):
        for prompt in range(PROMPTS):
            strength = 3 + torch.rand((), generator=rng)
            for _ in range(SEEDS):
                rows.append(strength * directions[concept] + 0.3 * torch.randn(WIDTH, generator=rng))
                about.append(f"concept {concept}")
                prompts.append(f"concept {concept}, wording {prompt}")
    return PlantedActivations(directions, torch.stack(rows) + 5 * directions[-1], about, prompts)


def residual_estimates(score: SaeScore) -> tuple[float, float]:
    """Return the residuals by features and by the probe."""
    assert score.residual
    assert score.probe
    return score.residual.estimate.value, score.probe.estimate.value


def test_an_unchanged_model_has_residual_one(world: PlantedActivations) -> None:
    score = world.score_edit(world.before)
    assert residual_estimates(score) == (1.0, 1.0)
    assert score.residual.estimate.low == score.residual.estimate.high == 1.0
    assert score.trusted


def test_damping_of_all_features_is_not_erasure(world: PlantedActivations) -> None:
    score = world.score_edit(0.7 * world.before)
    assert residual_estimates(score) == (pytest.approx(1), pytest.approx(1))
    assert score.residual.damping.value == pytest.approx(0.7, abs=1e-4)


def test_a_shift_of_all_prompts_is_not_erasure(world: PlantedActivations) -> None:
    drift = 2 * world.directions[0] + world.directions[1]
    assert residual_estimates(world.score_edit(world.before + drift)) == (
        pytest.approx(1, abs=1e-5),
        pytest.approx(1, abs=1e-5),
    )


def test_full_erasure_leaves_no_residual(world: PlantedActivations) -> None:
    score = world.score_edit(world.without(1.0))
    assert residual_estimates(score)[0] == pytest.approx(0, abs=0.05)
    assert residual_estimates(score)[1] == pytest.approx(0, abs=0.15)
    assert score.residual.estimate.high < 0.2
    assert score.residual.detected_after.value <= 0.1 < score.residual.detected_before.value == 1
    assert (score.residual.auc_before, score.residual.auc_after) == (1, pytest.approx(0.5, abs=0.15))


def test_half_erasure_with_damping_and_shift_has_residual_one_half(world: PlantedActivations) -> None:
    after = 0.7 * world.without(0.5) + 3 * world.directions[0]
    assert residual_estimates(world.score_edit(after))[0] == pytest.approx(0.5, abs=0.03)


def test_intervals_cover_the_true_residual_at_the_stated_rate() -> None:
    rng, hits = np.random.default_rng(3), 0
    about = np.repeat(np.arange(12), 12)
    prompts = np.repeat(np.arange(48), 3)
    for _ in range(60):
        mean = 2.0 * (about[:, None] == np.arange(12)) + rng.normal(size=48)[prompts][:, None] * 0.3
        noise = lambda: 0.3 * rng.normal(size=mean.shape)  # noqa: B023, E731
        after = mean.copy()
        after[about == 0, 0] -= 1.0
        found = estimate_residual(
            ConceptScores(mean + noise(), after + noise(), prompts, about), [str(i) for i in range(12)], [()] * 12
        )
        assert found
        hits += found.estimate.low <= 0.5 <= found.estimate.high
    assert hits >= 50


def test_a_concept_without_features_is_scored_by_the_probe_alone(world: PlantedActivations) -> None:
    readings = PairedActivations(world.before, world.without(1.0), world.prompts, world.about)
    score = sae_score(world.sae(), readings, {f"concept {i}": [i] for i in range(1, CONCEPTS)}, 0, PLACE)
    assert (score.residual, score.features) == (None, [])
    assert score.probe.estimate.value < 0.2


def test_a_given_probe_scores_all_prompts(world: PlantedActivations) -> None:
    readings = PairedActivations(world.before, world.without(1.0), world.prompts, world.about)
    known = {f"concept {i}": (world.directions[i].double(), 0.0) for i in range(CONCEPTS)}
    score = sae_score(world.sae(), readings, {}, 0, PLACE, known)
    assert score.probe.estimate.value == pytest.approx(0, abs=0.05)
    assert score.residual is None


def test_fewer_than_ten_controls_with_features_give_no_residual(world: PlantedActivations) -> None:
    readings = PairedActivations(world.before, world.without(1.0), world.prompts, world.about)
    few = {f"concept {i}": [i] for i in range(9)}
    assert sae_score(world.sae(), readings, few, 0, PLACE).residual is None


def test_trust_is_decided_on_single_positions_if_given(world: PlantedActivations) -> None:
    readings = PairedActivations(world.before, world.before, world.prompts, world.about)
    noise = torch.randn(world.before.shape, generator=torch.Generator().manual_seed(1))
    features = {f"concept {i}": [i] for i in range(CONCEPTS)}
    score = sae_score(world.sae(), readings, features, 0, PLACE, patches=(world.before, world.before + noise))
    assert not score.trusted


def test_a_feature_that_does_not_detect_the_concept_gives_no_residual(world: PlantedActivations) -> None:
    readings = PairedActivations(world.before, world.before, world.prompts, world.about)
    features = {f"concept {i}": [i] for i in range(CONCEPTS)} | {"concept 0": [30]}
    assert sae_score(world.sae(), readings, features, 0, PLACE).residual is None


def test_too_few_controls_are_refused() -> None:
    table = np.zeros((20, 10))
    with pytest.raises(ValueError, match="at least 10"):
        estimate_residual(ConceptScores(table, table, np.arange(20), np.arange(20) % 10), ["x"] * 10, [()] * 10)


def test_the_score_is_not_trusted_if_the_autoencoder_explains_too_little(world: PlantedActivations) -> None:
    noise = torch.randn(world.before.shape, generator=torch.Generator().manual_seed(1))
    score = world.score_edit(world.before + noise)
    assert score.fvu_after > 1.5 * score.fvu_before
    assert not score.trusted
    assert "probe" in score.why


def test_the_features_that_changed_most_are_reported(world: PlantedActivations) -> None:
    mine = torch.tensor([name == "concept 0" for name in world.about]).float()[:, None]
    changed = world.score_edit(world.without(1.0) + 3 * mine * world.directions[20]).changed
    assert {changed[0].feature, changed[1].feature} == {0, 20}
    by_feature = {one.feature: one for one in changed}
    assert by_feature[20].change > 0 > by_feature[0].change
    assert abs(by_feature[20].controls_change) < 0.01
    assert len(changed) == 20
