"""Configuration of an autoencoder and its training."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Activation = Literal["topk", "batchtopk", "relu"]


class SaeConfig(BaseModel):
    """Shape, loss and schedule. Rows are centered and scaled first, so that these values transfer between layers.

    Defaults follow Gao et al. 2024 (arXiv 2406.04093, sections 2 and A), except for a dead window that small data can reach
    and for short memory in Adam (no momentum, second-moment decay 0.95). Most latents are inactive in most batches: with
    momentum they would keep moving, and with a long second-moment average the step size of a rare latent would depend on
    gradients of long ago. Both choices lower the error of short runs; long runs reach the same error, with better agreement
    between seeds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    latents: int = Field(ge=1)
    activation: Activation = "topk"
    k: int = Field(default=32, ge=1, description="Active latents per row; for batchtopk, the mean over a batch.")
    l1: float = Field(
        default=5.0, ge=0, description="relu: weight of sum z |decoder row| relative to |x - x'|^2, where |x|^2 is d."
    )
    steps: int = Field(default=4000, ge=1)
    batch: int = Field(default=512, ge=1, description="Rows per step.")
    learning_rate: float = Field(default=2e-3, gt=0, description="Peak learning rate.")
    warmup: int | None = Field(default=None, ge=0, description="Warm-up steps; null: a twentieth of all steps.")
    decay: float = Field(
        default=0.2, ge=0, le=1, description="Final share of the steps, in which the learning rate falls to zero."
    )
    momentum: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Adam's beta1; with 0, latents that are inactive in a batch are not updated.",
    )
    squares: float = Field(default=0.95, ge=0, lt=1, description="Adam's beta2.")
    tied: bool = Field(default=True, description="Initialize the encoder as the decoder's transpose.")
    scaled: bool = Field(default=True, description="Center the rows and scale them to mean square norm d.")
    centre: Literal["geometric_median", "mean"] = Field(
        default="geometric_median", description="Initial value of the bias."
    )
    auxiliary: float = Field(default=1 / 32, ge=0, description="Weight of the auxiliary loss of dead latents (AuxK).")
    auxiliary_k: int | None = Field(
        default=None, ge=1, description="Dead latents used per row; null: half of d, at most 256."
    )
    dead_after: int | None = Field(
        default=None,
        ge=1,
        description="Rows without activation before a latent is dead; null: two epochs, at least 50 steps.",
    )
    clip: float | None = Field(default=1.0, gt=0, description="Maximum gradient norm; null: no clipping.")
    seed: int = Field(default=0, ge=0)
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto",
        description="Precision of the encoder's matrix product; auto: bfloat16 if the hardware supports it.",
    )

    @property
    def warmup_steps(self) -> int:
        """Number of linear warm-up steps."""
        return max(1, self.steps // 20) if self.warmup is None else self.warmup

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of a step (from 0): linear warm-up, constant, linear decay."""
        up = (step + 1) / max(1, self.warmup_steps)
        down = (self.steps - step) / max(1.0, self.decay * self.steps)
        return self.learning_rate * min(1.0, up, down if self.decay else 1.0)

    def dead_window(self, rows: int) -> int:
        """Return the number of rows without activation after which a latent is dead, for a data set of ``rows``."""
        return self.dead_after or max(2 * rows, 50 * self.batch)


def revelio_config(width: int, seed: int = 0) -> SaeConfig:
    """Return the settings of Revelio (Kim et al. 2025, arXiv 2411.16725), for comparison with published results.

    Its normalized error is the FVU of the batch, which is our loss too. The settings do not suit small data: 64 times as
    many latents as dimensions exceeds the rows of a few thousand images, a batch of 8192 exceeds the data set, dead latents
    are counted but not revived, and no rows are held out. One bug of the released code is not reproduced: the "feature
    activations" that it returns are those before TopK, so its L0 and dead share do not describe the code.

    Args:
        width: width of the rows.
    """
    return SaeConfig(
        latents=64 * width,
        k=32,
        steps=10_240,
        batch=8192,
        learning_rate=4e-4,
        warmup=500,
        decay=0,
        momentum=0.9,
        squares=0.999,
        tied=False,
        scaled=False,
        centre="mean",
        auxiliary=0,
        clip=None,
        precision="float32",
        seed=seed,
    )
