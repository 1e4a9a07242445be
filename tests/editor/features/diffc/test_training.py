"""Training of Diff-C: it learns spatial arrangements, chooses the epoch by validation, and is deterministic."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from editor.errors import FeatureError
from editor.features.activations.noised_source import activations_at_timestep, seeded_noise
from editor.features.diffc.inference import BATCH_SIZE, class_probability, probabilities
from editor.features.diffc.model import DiffcConfig, DiffusionClassifier
from editor.features.diffc.training import (
    TRAINING_CONFIGS,
    DiffcTrainingConfig,
    FreshNoise,
    LabelledMaps,
    accuracy,
    train_diffc,
)
from editor.features.linear_probe import fit_probe
from tests.editor.features.activations.pipelines import latents_of, pipeline_of

CONFIG = DiffcConfig(module="mid_block", timestep=25, channels=8, classes=("left", "right"))
PLAN = DiffcTrainingConfig(epochs=6, cosine_epochs=6, batch=16)


def arranged_patches(n: int, seed: int) -> LabelledMaps:
    """Maps with the same two patches; the class is their order from left to right, which mean pooling loses."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(2, (n,), generator=generator)
    maps = 0.3 * torch.randn(n, 8, 4, 4, generator=generator)
    for item, side in enumerate(targets.tolist()):
        row, column = torch.randint(4, (), generator=generator), torch.randint(3, (), generator=generator)
        first, second = (column, column + 1) if side == 0 else (column + 1, column)
        maps[item, :4, row, first] += 3
        maps[item, 4:, row, second] += 3
    return LabelledMaps(maps, targets)


@pytest.fixture(scope="module")
def train() -> LabelledMaps:
    return arranged_patches(400, 0)


@pytest.fixture(scope="module")
def validation() -> LabelledMaps:
    return arranged_patches(100, 1)


def test_classifier_learns_spatial_arrangements_that_mean_pooling_loses(
    train: LabelledMaps, validation: LabelledMaps
) -> None:
    test = arranged_patches(200, 2)
    trained = train_diffc(train.load, train.targets, validation, CONFIG, PLAN, progress=False)
    assert accuracy(trained.model, test) > 0.9
    names = [[CONFIG.classes[i] for i in own.targets.tolist()] for own in (train, test)]
    assert fit_probe(train.maps.mean((2, 3)), names[0]).accuracy(test.maps.mean((2, 3)), names[1]) < 0.6


def test_best_epoch_is_chosen_on_the_validation_split(train: LabelledMaps, validation: LabelledMaps) -> None:
    trained = train_diffc(train.load, train.targets, validation, CONFIG, PLAN, progress=False)
    assert trained.accuracy == max(trained.history) == trained.history[trained.epoch]
    assert accuracy(trained.model, validation) == trained.accuracy


def test_training_stops_when_validation_does_not_improve(train: LabelledMaps, validation: LabelledMaps) -> None:
    reversed_labels = LabelledMaps(validation.maps, 1 - validation.targets)
    plan = replace(PLAN, epochs=30, patience=2)
    trained = train_diffc(train.load, train.targets, reversed_labels, CONFIG, plan, progress=False)
    assert len(trained.history) == trained.epoch + 3 < 30


def test_training_is_deterministic_and_preserves_the_global_random_state(
    train: LabelledMaps, validation: LabelledMaps
) -> None:
    config, plan = CONFIG.model_copy(update={"dropout": 0.2}), replace(PLAN, epochs=2)

    def weights(seed: int) -> dict[str, Tensor]:
        made = train_diffc(train.load, train.targets, validation, config, replace(plan, seed=seed), progress=False)
        return made.model.state_dict()

    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first = weights(0)
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(tensor, first[name]) for name, tensor in weights(0).items())
    assert not torch.equal(weights(1)["head.3.weight"], first["head.3.weight"])


def test_revelio_preset_has_the_released_training_settings() -> None:
    plan = TRAINING_CONFIGS["revelio"]
    assert (plan.epochs, plan.cosine_epochs, plan.batch, plan.learning_rate, plan.patience) == (30, 90, 16, 1e-4, None)


def test_fresh_noise_differs_between_batches_and_repeats_with_the_seed() -> None:
    pipeline, clean = pipeline_of("stable-diffusion-1"), latents_of("stable-diffusion-1", 4)
    fresh, generator = FreshNoise(pipeline, clean, "mid_block", 200), torch.Generator()
    items = torch.tensor([2, 0])
    first, second = (fresh.load(items, generator.manual_seed(0)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.allclose(fresh.load(items, generator), first)
    noise = torch.randn(2, *clean.shape[1:], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = activations_at_timestep(pipeline, clean[items], noise, 200, ["mid_block"])["mid_block"]
    torch.testing.assert_close(first, expected)


@pytest.fixture(scope="module")
def classifier() -> DiffusionClassifier:
    torch.manual_seed(0)
    return DiffusionClassifier(
        DiffcConfig(module="mid_block", timestep=200, channels=32, classes=("fox", "owl", "pizza"))
    )


def test_probabilities_are_averaged_over_noise_samples(classifier: DiffusionClassifier) -> None:
    pipeline, clean = pipeline_of("stable-diffusion-1"), latents_of("stable-diffusion-1", 3)
    found = probabilities(pipeline, classifier, clean, draws=2, seed=3)
    torch.testing.assert_close(found.sum(1), torch.ones(3, dtype=torch.float64))
    with torch.no_grad():
        alone = [
            activations_at_timestep(
                pipeline, clean[1:2], seeded_noise(clean.shape[1:], 3000 + draw, [1]), 200, ["mid_block"]
            )
            for draw in range(2)
        ]
    expected = sum(classifier.logits(maps["mid_block"]).double().softmax(1)[0] for maps in alone) / 2
    torch.testing.assert_close(found[1], expected, rtol=1e-4, atol=1e-6)


def test_probabilities_do_not_depend_on_the_batch(classifier: DiffusionClassifier) -> None:
    pipeline, clean = pipeline_of("stable-diffusion-1"), latents_of("stable-diffusion-1", BATCH_SIZE + 2)
    whole = probabilities(pipeline, classifier, clean, draws=1)
    torch.testing.assert_close(whole[:2], probabilities(pipeline, classifier, clean[:2], draws=1), rtol=1e-4, atol=1e-6)
    told = probabilities(pipeline, classifier, clean[:2], prompts=["a fox", ""], draws=1)
    torch.testing.assert_close(told[1], whole[1], rtol=1e-4, atol=1e-6)
    assert not torch.allclose(told[0], whole[0], atol=1e-6)


def test_class_probability_by_name(classifier: DiffusionClassifier) -> None:
    found = torch.tensor([[0.2, 0.7, 0.1]], dtype=torch.float64)
    assert class_probability(classifier, found, "owl").tolist() == [0.7]
    with pytest.raises(FeatureError, match="not trained on"):
        class_probability(classifier, found, "guitar")
