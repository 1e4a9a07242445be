"""Does training find features that are known to be there? Sparse sums of 256 directions in 64 dimensions."""

from dataclasses import dataclass

import torch

from editor.features.sae.config import SaeConfig
from editor.features.sae.metrics import reconstruction, recovered, stability
from editor.features.sae.toy_superposition import Superposition
from editor.features.sae.training import train_sae

WORLD = Superposition(width=64, directions=256, active=6)
CONFIG = SaeConfig(latents=256, k=8, steps=4000, batch=512, learning_rate=2e-3)
ROWS, HELD_OUT = 16_000, 4000
ENOUGH = 0.9


@dataclass(frozen=True)
class Finding:
    """What one training found."""

    recovered: float
    """Share of the true directions that some latent has, by a cosine above 0.9."""
    fvu: float
    """On rows that were not trained on."""
    fvu_train: float
    dead: float
    mean_cosine: float
    """Mean largest cosine of a true direction to a latent."""

    @property
    def ok(self) -> bool:
        """Whether enough was found."""
        return self.recovered >= ENOUGH


def selftest(seed: int = 0, world: Superposition = WORLD, config: SaeConfig = CONFIG, quiet: bool = False) -> Finding:
    """Train on rows of the world and compare with its truth. Deterministic given the seed."""
    rows, truth = world.rows(ROWS), world.truth()
    sae = train_sae(rows, config.model_copy(update={"seed": seed}), quiet=quiet).sae
    with torch.no_grad():
        unseen = reconstruction(sae, world.rows(HELD_OUT, part=2))
        return Finding(
            recovered=recovered(sae.decoder, truth),
            fvu=unseen.fvu,
            fvu_train=reconstruction(sae, rows[:HELD_OUT]).fvu,
            dead=unseen.dead,
            mean_cosine=float(stability(truth, [sae.decoder]).mean()),
        )
