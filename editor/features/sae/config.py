"""What an autoencoder is, and how it is trained."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Activation = Literal["topk", "batchtopk", "relu"]


class SaeConfig(BaseModel):
    """Shape, loss and schedule. Rows are centred and scaled first, so that these figures carry over between layers.

    Defaults follow Gao et al. 2024 (arXiv 2406.04093, sections 2 and A), with a dead window that small data can reach, and
    with an Adam that forgets quickly. Most latents are silent in most batches: with momentum they would go on moving, and
    with mean squares of a thousand steps a rare one would be held to the size of gradients long past. Both spare short
    trainings error; long ones end at the same error, and seeds agree better.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    latents: int = Field(ge=1)
    activation: Activation = "topk"
    k: int = Field(default=32, ge=1, description="Active latents of a row; for batchtopk their mean over a batch.")
    l1: float = Field(
        default=5.0, ge=0, description="relu: weight of sum z |decoder row| beside |x - x'|^2, |x|^2 being d."
    )
    steps: int = Field(default=4000, ge=1)
    batch: int = Field(default=512, ge=1, description="Rows.")
    learning_rate: float = Field(default=2e-3, gt=0, description="Peak.")
    warmup: int | None = Field(default=None, ge=0, description="Steps; null: a twentieth of all.")
    decay: float = Field(
        default=0.2, ge=0, le=1, description="Last share of the steps, in which the rate falls to zero."
    )
    momentum: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Adam's first decay; 0: a latent that is silent in a batch stays where it is.",
    )
    squares: float = Field(default=0.95, ge=0, lt=1, description="Adam's second decay, of the mean squared gradients.")
    tied: bool = Field(default=True, description="The encoder starts as the decoder's transpose, else on its own.")
    scaled: bool = Field(default=True, description="Centre the rows and scale them to mean square norm d.")
    centre: Literal["geometric_median", "mean"] = Field(default="geometric_median", description="Start of the bias.")
    auxiliary: float = Field(default=1 / 32, ge=0, description="Weight of the dead latents' own loss (AuxK).")
    auxiliary_k: int | None = Field(
        default=None, ge=1, description="Dead latents for a row; null: half of d, 256 at most."
    )
    dead_after: int | None = Field(
        default=None, ge=1, description="Rows without firing; null: two epochs, 50 steps at least."
    )
    clip: float | None = Field(default=1.0, gt=0, description="Norm of the gradient, at most; null: any.")
    seed: int = Field(default=0, ge=0)
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto", description="Of the encoder's product; auto: bfloat16 where the processor has it."
    )

    @property
    def warmup_steps(self) -> int:
        """Steps of linear warm-up."""
        return max(1, self.steps // 20) if self.warmup is None else self.warmup

    def learning_rate_at(self, step: int) -> float:
        """Learning rate of a step, counted from 0: up, constant, down."""
        up = (step + 1) / max(1, self.warmup_steps)
        down = (self.steps - step) / max(1.0, self.decay * self.steps)
        return self.learning_rate * min(1.0, up, down if self.decay else 1.0)

    def dead_window(self, rows: int) -> int:
        """Rows after which a latent that did not fire counts as dead."""
        return self.dead_after or max(2 * rows, 50 * self.batch)


def revelio_config(width: int, seed: int = 0) -> SaeConfig:
    """The settings of Revelio (Kim et al. 2025, arXiv 2411.16725), for parity; ``width`` is that of the rows.

    Its normalised error is the FVU of the batch, which is our loss too. What it lacks for small data: 64 times as many
    latents as dimensions on a few thousand images means more latents than rows, a batch of 8192 is larger than the data
    set, dead latents are counted and left dead, and no row is held out. Its faults are not repeated: the returned
    "feature activations" were those before TopK, so that L0 and dead share were not of the code.
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
