"""Self-test: does training recover known features? The data are sparse sums of 256 directions in 64 dimensions."""

from dataclasses import dataclass

import torch

from editor.features.sae.config import SaeConfig
from editor.features.sae.metrics import reconstruction_metrics, recovered_share, stability
from editor.features.sae.toy_superposition import ToySuperposition
from editor.features.sae.training import train_sae

TOY_DATA = ToySuperposition(width=64, directions=256, active=6)
SELFTEST_CONFIG = SaeConfig(latents=256, k=8, steps=4000, batch=512, learning_rate=2e-3)
TRAINING_ROWS, HELD_OUT_ROWS = 16_000, 4000
MIN_RECOVERED = 0.9


@dataclass(frozen=True)
class SelfTestResult:
    """Metrics of the trained autoencoder."""

    recovered: float
    """Share of the true directions with a decoder row of cosine above 0.9."""
    fvu: float
    """FVU on held-out rows."""
    fvu_train: float
    dead: float
    mean_cosine: float
    """Mean over true directions of the largest cosine to a decoder row."""

    @property
    def ok(self) -> bool:
        """Whether enough directions were recovered."""
        return self.recovered >= MIN_RECOVERED


def run_selftest(
    seed: int = 0, data: ToySuperposition = TOY_DATA, config: SaeConfig = SELFTEST_CONFIG, quiet: bool = False
) -> SelfTestResult:
    """Train on toy data and compare with its true directions. Deterministic for a given seed."""
    rows, truth = data.rows(TRAINING_ROWS), data.true_directions()
    sae = train_sae(rows, config.model_copy(update={"seed": seed}), quiet=quiet).sae
    with torch.no_grad():
        unseen = reconstruction_metrics(sae, data.rows(HELD_OUT_ROWS, part=2))
        return SelfTestResult(
            recovered=recovered_share(sae.decoder, truth),
            fvu=unseen.fvu,
            fvu_train=reconstruction_metrics(sae, rows[:HELD_OUT_ROWS]).fvu,
            dead=unseen.dead,
            mean_cosine=float(stability(truth, [sae.decoder]).mean()),
        )
