"""Training of Diff-C: AdamW with a cosine schedule; the best epoch is chosen on a validation split.

Revelio's released code trains 30 epochs of a 90-epoch cosine, validates on the test split, and draws new noise for the test
images each time, so its accuracy varies between runs. Here the maps of validation and test are given and therefore fixed.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import trange

from editor.features.activations.noised_source import activations_at_timestep
from editor.features.diffc.model import DiffcConfig, DiffusionClassifier, Preset
from editor.io.progress import checked

MapLoader = Callable[[Tensor, torch.Generator], Tensor]
"""(item indices, generator for random augmentation) -> maps of the items."""


@dataclass(frozen=True)
class DiffcTrainingConfig:
    """Training settings."""

    epochs: int = 15
    batch: int = 64
    learning_rate: float = 2e-3
    cosine_epochs: int = 15
    """Epochs until the cosine schedule reaches zero; may exceed ``epochs``."""
    weight_decay: float = 0.01
    patience: int | None = 5
    """Stop after this many epochs without a better validation accuracy; None: never."""
    seed: int = 0


TRAINING_CONFIGS: dict[Preset, DiffcTrainingConfig] = {
    "light": DiffcTrainingConfig(),
    "revelio": DiffcTrainingConfig(epochs=30, batch=16, learning_rate=1e-4, cosine_epochs=90, patience=None),
}


@dataclass(frozen=True)
class LabelledMaps:
    """Maps ``(n, channels, h, w)``, possibly memory-mapped, and class indices ``(n,)``."""

    maps: Tensor
    targets: Tensor

    def load(self, items: Tensor, generator: torch.Generator) -> Tensor:
        """Return the stored maps of the items."""
        return self.maps[items]


@dataclass(frozen=True)
class FreshNoise:
    """Maps with new noise for every batch, as Revelio trains: noise as augmentation, at the cost of running the backbone."""

    pipeline: Any
    latents: Tensor
    module: str
    timestep: int

    def load(self, items: Tensor, generator: torch.Generator) -> Tensor:
        """Run the backbone on the items with new noise and the empty prompt."""
        clean = self.latents[items]
        noise = torch.randn(clean.shape, generator=generator).to(clean)
        with torch.no_grad():
            return activations_at_timestep(self.pipeline, clean, noise, self.timestep, [self.module])[self.module]


@dataclass(frozen=True)
class TrainedDiffc:
    """Result of training: the classifier of the best epoch."""

    model: DiffusionClassifier
    accuracy: float
    """Accuracy on the validation split."""
    epoch: int
    history: tuple[float, ...]
    """Validation accuracy after each epoch."""


def train_diffc(
    load_maps: MapLoader,
    targets: Tensor,
    validation: LabelledMaps,
    config: DiffcConfig,
    training: DiffcTrainingConfig | None = None,
    progress: bool = True,
) -> TrainedDiffc:
    """Train on items 0 to n - 1. The same seed gives the same classifier.

    Args:
        load_maps: returns the maps of training items.
        targets: ``(n,)`` class indices.
        validation: selects the epoch; must not share images with training or test.
        config: architecture and classes.
        training: default: the settings of the preset.
        progress: show a progress bar.
    """
    training = training or TRAINING_CONFIGS[config.preset]
    with torch.random.fork_rng(devices=[]):  # trains on the CPU
        torch.manual_seed(training.seed)
        trainer = DiffcTrainer(DiffusionClassifier(config), training)
        for epoch in (bar := trange(training.epochs, desc="Diff-C", disable=not progress)):
            trainer.train_epoch(load_maps, targets)
            trainer.validate(epoch, validation)
            bar.set_postfix(validation=f"{trainer.history[-1]:.3f}", refresh=False)
            if training.patience is not None and epoch - trainer.best_epoch >= training.patience:
                break
    trainer.model.load_state_dict(trainer.best)
    best, history = trainer.best_epoch, tuple(trainer.history)
    return TrainedDiffc(trainer.model.eval(), history[best], best, history)


class DiffcTrainer:
    """State of a training run."""

    def __init__(self, model: DiffusionClassifier, config: DiffcTrainingConfig) -> None:
        self.model, self.config, self.history = model, config, list[float]()
        self.optimizer = torch.optim.AdamW(
            model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, config.cosine_epochs)
        self.generator = torch.Generator().manual_seed(config.seed)
        self.best_epoch, self.best = 0, deepcopy(model.state_dict())

    def train_epoch(self, load_maps: MapLoader, targets: Tensor) -> None:
        """Train on every item once, in random order. A last batch of one item is skipped: batch norm needs two."""
        self.model.train()
        for items in checked(torch.split(torch.randperm(len(targets), generator=self.generator), self.config.batch)):
            if len(items) > 1:
                with torch.enable_grad():
                    loss = F.cross_entropy(self.model(load_maps(items, self.generator)), targets[items])
                    self.optimizer.zero_grad()
                    loss.backward()  # type: ignore[no-untyped-call]
                self.optimizer.step()
        self.schedule.step()

    def validate(self, epoch: int, validation: LabelledMaps) -> None:
        """Measure the validation accuracy, and copy the weights if they are the best so far."""
        self.history.append(accuracy(self.model, validation))
        if epoch == 0 or self.history[-1] > self.history[self.best_epoch]:
            self.best_epoch, self.best = epoch, deepcopy(self.model.state_dict())


def accuracy(model: DiffusionClassifier, items: LabelledMaps, batch: int = 256) -> float:
    """Return the share of items that are classified correctly."""
    return float(correct_predictions(model, items, batch).double().mean())


def correct_predictions(model: DiffusionClassifier, items: LabelledMaps, batch: int = 256) -> Tensor:
    """Return whether each item is classified correctly, ``(n,)`` bool."""
    predicted = torch.cat([model.logits(part).argmax(1) for part in torch.split(items.maps, batch)])
    return predicted == items.targets
