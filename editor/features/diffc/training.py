"""Training: AdamW with a cosine over epochs, the best epoch by a validation split that training never sees.

As released, Revelio trains 30 epochs of a cosine made for 90, validates on the test split, and noises test images anew each
time, so that its accuracy differs from run to run. Here test and validation maps are given, hence fixed.
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

MapLoader = Callable[[Tensor, torch.Generator], Tensor]
"""Item numbers -> their maps; the generator is for what is drawn anew each time."""


@dataclass(frozen=True)
class DiffcTrainingConfig:
    """How to train."""

    epochs: int = 15
    batch: int = 64
    learning_rate: float = 2e-3
    cosine_epochs: int = 15
    """Epochs in which the cosine comes to zero."""
    weight_decay: float = 0.01
    patience: int | None = 5
    """Epochs without a better validation accuracy after which to stop; None: never."""
    seed: int = 0


TRAINING_CONFIGS: dict[Preset, DiffcTrainingConfig] = {
    "light": DiffcTrainingConfig(),
    "revelio": DiffcTrainingConfig(epochs=30, batch=16, learning_rate=1e-4, cosine_epochs=90, patience=None),
}


@dataclass(frozen=True)
class LabelledMaps:
    """Maps ``(n, channels, h, w)``, perhaps mapped from disk, and class numbers ``(n,)``."""

    maps: Tensor
    targets: Tensor

    def load(self, items: Tensor, generator: torch.Generator) -> Tensor:
        """As they are."""
        return self.maps[items]


@dataclass(frozen=True)
class FreshNoise:
    """Maps made anew for every batch, as Revelio trains: the noise is an augmentation, and the backbone runs each time."""

    pipeline: Any
    latents: Tensor
    module: str
    timestep: int

    def load(self, items: Tensor, generator: torch.Generator) -> Tensor:
        """Under the empty prompt."""
        clean = self.latents[items]
        noise = torch.randn(clean.shape, generator=generator).to(clean)
        with torch.no_grad():
            return activations_at_timestep(self.pipeline, clean, noise, self.timestep, [self.module])[self.module]


@dataclass(frozen=True)
class TrainedDiffc:
    """The classifier of the best epoch."""

    model: DiffusionClassifier
    accuracy: float
    """On the validation split."""
    epoch: int
    history: tuple[float, ...]
    """Validation accuracy after every epoch."""


def train_diffc(
    draw: MapLoader,
    targets: Tensor,
    validation: LabelledMaps,
    config: DiffcConfig,
    plan: DiffcTrainingConfig | None = None,
    progress: bool = True,
) -> TrainedDiffc:
    """Train on items 0 to n - 1; the same seed gives the same classifier.

    Args:
        draw: gives the maps of training items.
        targets: ``(n,)`` class numbers.
        validation: chooses the epoch; must share no picture with training or test.
        plan: by default the preset's.
    """
    plan = plan or TRAINING_CONFIGS[config.preset]
    with torch.random.fork_rng():
        torch.manual_seed(plan.seed)
        run = DiffcTrainer(DiffusionClassifier(config), plan)
        for epoch in (bar := trange(plan.epochs, desc="Diff-C", disable=not progress)):
            run.train_epoch(draw, targets)
            run.validate(epoch, validation)
            bar.set_postfix(validation=f"{run.history[-1]:.3f}", refresh=False)
            if plan.patience is not None and epoch - run.best_epoch >= plan.patience:
                break
    run.model.load_state_dict(run.best)
    return TrainedDiffc(run.model.eval(), run.history[run.best_epoch], run.best_epoch, tuple(run.history))


class DiffcTrainer:
    """A classifier in training."""

    def __init__(self, model: DiffusionClassifier, plan: DiffcTrainingConfig) -> None:
        self.model, self.config, self.history = model, plan, list[float]()
        self.optimiser = torch.optim.AdamW(
            model.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay, fused=True
        )
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimiser, plan.cosine_epochs)
        self.generator = torch.Generator().manual_seed(plan.seed)
        self.best_epoch, self.best = 0, deepcopy(model.state_dict())

    def train_epoch(self, draw: MapLoader, targets: Tensor) -> None:
        """Every item once, in random order. A last batch of one is left out: batch norm can't take it."""
        self.model.train()
        for items in torch.split(torch.randperm(len(targets), generator=self.generator), self.config.batch):
            if len(items) > 1:
                with torch.enable_grad():
                    loss = F.cross_entropy(self.model(draw(items, self.generator)), targets[items])
                    self.optimiser.zero_grad()
                    loss.backward()  # type: ignore[no-untyped-call]
                self.optimiser.step()
        self.schedule.step()

    def validate(self, epoch: int, validation: LabelledMaps) -> None:
        """Remember the weights where they are better than before."""
        self.history.append(accuracy(self.model, validation))
        if epoch == 0 or self.history[-1] > self.history[self.best_epoch]:
            self.best_epoch, self.best = epoch, deepcopy(self.model.state_dict())


def accuracy(model: DiffusionClassifier, items: LabelledMaps, batch: int = 256) -> float:
    """Share of items whose class has the highest logit."""
    return float(correct_predictions(model, items, batch).double().mean())


def correct_predictions(model: DiffusionClassifier, items: LabelledMaps, batch: int = 256) -> Tensor:
    """``(n,)``: whether each item's class has the highest logit."""
    found = torch.cat([model.logits(part).argmax(1) for part in torch.split(items.maps, batch)])
    return found == items.targets
