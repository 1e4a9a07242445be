"""Training of sparse autoencoders: seeded and resumable.

The rows of a step depend only on (seed, step), so a run that resumes from a checkpoint gives the same result as an
uninterrupted one.
"""

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn
from tqdm import tqdm

from editor.errors import FeatureError
from editor.features.sae.config import SaeConfig
from editor.features.sae.dead_latents import DeadLatentTracker, auxiliary_loss
from editor.features.sae.initialization import initialize_sae
from editor.features.sae.model import SparseAutoencoder
from editor.features.sae.sparse_autograd import LatentSelector, reconstruct
from editor.features.sae.sparse_codes import SparseCode, batch_top_k, top_k
from editor.io.atomic import write_bytes
from editor.io.progress import check_canceled

CHECKPOINT_FILE = "checkpoint.safetensors"
CHECKPOINT_SECONDS = 120
THRESHOLD_DECAY = 0.99
"""Decay of the moving average of the smallest active value, which becomes the threshold of a BatchTopK autoencoder."""
ADAM_EPSILON = 6.25e-10
"""Adam's epsilon."""
FINGERPRINT_ROWS = 1024
"""Rows that are hashed to identify the data set of a checkpoint."""


@dataclass(frozen=True)
class TrainedSae:
    """A trained autoencoder with its training statistics."""

    sae: SparseAutoencoder
    config: SaeConfig
    losses: list[float]
    """FVU of each step's batch."""
    dead: int
    """Number of dead latents at the end."""


def train_sae(
    rows: Tensor,
    config: SaeConfig,
    *,
    folder: Path | None = None,
    device: str | torch.device = "cpu",
    quiet: bool = False,
) -> TrainedSae:
    """Train an autoencoder on ``(n, width)`` rows, which may be memory-mapped and of any floating-point type.

    Args:
        folder: for checkpoints; an existing one is resumed.
        quiet: disable the progress bar.

    Raises:
        FeatureError: there are fewer than two rows, rows are not finite, or the checkpoint is of another run.
    """
    validate_rows(rows, config)
    run = SaeTrainer(rows, config, torch.device(device))
    checkpoint = folder / CHECKPOINT_FILE if folder else None
    if checkpoint and checkpoint.exists():
        run.resume(checkpoint)
    saved = time.monotonic()
    with tqdm(total=config.steps, initial=run.step, desc="sae", mininterval=2, disable=quiet) as bar:
        while run.step < config.steps:
            check_canceled()
            loss = run.train_step()
            bar.update()
            if run.step % 50 == 0:
                bar.set_postfix(fvu=f"{float(loss):.4f}", dead=len(run.dead_latents.dead), refresh=False)
            if checkpoint and (time.monotonic() - saved > CHECKPOINT_SECONDS or run.step == config.steps):
                run.save(checkpoint)
                saved = time.monotonic()
    return TrainedSae(run.sae.eval().cpu(), config, torch.stack(run.losses).tolist(), len(run.dead_latents.dead))


def validate_rows(rows: Tensor, config: SaeConfig) -> None:
    """Raise if the rows cannot be trained on."""
    if rows.dim() != 2 or len(rows) < 2:
        raise FeatureError(
            "Training needs a matrix of at least two rows.", field="rows", remedy="Record more activations."
        )
    if not all(bool(part.isfinite().all()) for part in torch.split(rows, 65_536)):
        raise FeatureError("Some activations are not finite.", field="rows", remedy="Record them in float32.")


def batch_indices(rows: int, config: SaeConfig, start: int) -> Iterator[Tensor]:
    """Yield the row indices of each step from ``start``: a new permutation per epoch, without its incomplete last batch."""
    size = min(config.batch, rows)
    per_epoch = rows // size
    for epoch in range(start // per_epoch, config.steps // per_epoch + 1):
        order = torch.randperm(rows, generator=torch.Generator().manual_seed(config.seed * 1_000_003 + epoch))
        first = max(0, start - epoch * per_epoch)
        yield from torch.split(order, size)[first:per_epoch]


def compute_dtype(config: SaeConfig, device: torch.device) -> torch.dtype:
    """Return the data type of the encoder's matrix product."""
    has = torch.cuda.is_bf16_supported() if device.type == "cuda" else torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if config.precision == "bfloat16" or (config.precision == "auto" and has) else torch.float32


class SaeTrainer:
    """State of a training run."""

    def __init__(self, rows: Tensor, config: SaeConfig, device: torch.device) -> None:
        self.rows, self.config, self.device, self.step = rows, config, device, 0
        self.sae = initialize_sae(rows, config).to(device)
        self.precision = compute_dtype(config, device)
        self.dead_latents = DeadLatentTracker(config.latents, config.dead_window(len(rows)), device)
        decays = config.momentum, config.squares
        self.optimizer = torch.optim.Adam(self.sae.parameters(), config.learning_rate, decays, ADAM_EPSILON, fused=True)
        self.batches = batch_indices(len(rows), config, 0)
        self.losses: list[Tensor] = []

    def train_step(self) -> Tensor:
        """Run one step and return the FVU of its batch."""
        x = self.sae.normalize(self.rows[next(self.batches)].to(self.device))
        output, penalty = self.reconstruct_dense(x) if self.config.activation == "relu" else self.reconstruct_sparse(x)
        error = (x - output).square().sum() / (x - x.mean(0)).square().sum().clamp_min(torch.finfo(x.dtype).tiny)
        loss = error + penalty
        if self.config.auxiliary:
            dead = self.dead_latents.dead
            loss = loss + self.config.auxiliary * auxiliary_loss(self.sae, x, x - output, dead, self.config.auxiliary_k)
        self.apply_gradients(loss)
        self.losses.append(error.detach().cpu())
        return error.detach()

    def reconstruct_sparse(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstruct from the active latents. The penalty is 0."""
        sae = self.sae
        select = top_k if self.config.activation == "topk" else batch_top_k
        choose: LatentSelector = partial(select, k=self.config.k)
        output = reconstruct(
            x, sae.encoder, sae.latent_bias, sae.decoder, sae.pre_bias, choose, self.observe_code, self.precision
        )
        return output, x.new_zeros(())

    def observe_code(self, code: SparseCode) -> None:
        """Update the dead-latent tracker and, for BatchTopK, the threshold."""
        self.dead_latents.update(code.firing_counts(), len(code.offsets))
        if self.config.activation == "batchtopk":
            active = code.values[code.values > 0]
            least = active.min().expand_as(self.sae.threshold) if len(active) else self.sae.threshold
            self.sae.threshold.lerp_(least, max(1 - THRESHOLD_DECAY, 1 / (self.step + 1)))

    def reconstruct_dense(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstruct with ReLU by dense products, since hundreds of latents are active.

        The L1 penalty weights each latent by the norm of its decoder row.
        """
        sae = self.sae
        z = torch.addmm(sae.latent_bias, x - sae.pre_bias, sae.encoder.T).relu()
        self.dead_latents.update((z > 0).sum(0), len(x))
        penalty = (z @ sae.decoder.norm(dim=1)).mean() / sae.width
        return z @ sae.decoder + sae.pre_bias, self.config.l1 * penalty

    def apply_gradients(self, loss: Tensor) -> None:
        """Take an optimizer step; decoder rows of k-sparse autoencoders stay unit vectors."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        unit = self.config.activation != "relu"
        if unit:
            project_gradient(self.sae.decoder)
        if self.config.clip is not None:
            nn.utils.clip_grad_norm_(self.sae.parameters(), self.config.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate_at(self.step)
        self.optimizer.step()
        if unit:
            with torch.no_grad():
                F.normalize(self.sae.decoder, out=self.sae.decoder)
        self.step += 1

    def save(self, path: Path) -> None:
        """Write a checkpoint of the complete training state."""
        tensors = {f"sae.{name}": value for name, value in self.sae.state_dict().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"moment.{index}.{key}": value for key, value in state.items()}
        tensors |= {"idle": self.dead_latents.rows_since_active, "losses": torch.stack(self.losses)}
        about = {"step": str(self.step), "of": self.fingerprint()}
        write_bytes(path, save({name: value.contiguous() for name, value in tensors.items()}, metadata=about))

    def fingerprint(self) -> str:
        """Return the identity of the configuration and of a sample of the rows."""
        sample = self.rows[:: max(1, len(self.rows) // FINGERPRINT_ROWS)].float().contiguous()
        digest = hashlib.sha256(sample.numpy().tobytes()).hexdigest()
        return json.dumps([self.config.model_dump(), list(self.rows.shape), digest])

    def resume(self, path: Path) -> None:
        """Restore a checkpoint.

        Raises:
            FeatureError: the checkpoint is of another configuration or of other rows.
        """
        with safe_open(path, "pt") as file:
            about = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (safe_open is no dict)
        if about["of"] != self.fingerprint():
            raise FeatureError(
                f"The checkpoint {path} belongs to another configuration or other rows.",
                field="folder",
                remedy="Choose another folder, or delete the checkpoint.",
            )
        self.step, self.losses = int(about["step"]), list(tensors["losses"])
        self.dead_latents.rows_since_active.copy_(tensors["idle"])
        self.sae.load_state_dict({n.removeprefix("sae."): t for n, t in tensors.items() if n.startswith("sae.")})
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": optimizer_state(tensors)})
        self.batches = batch_indices(len(self.rows), self.config, self.step)


def project_gradient(decoder: nn.Parameter) -> None:
    """Remove the component of the gradient along each (unit) decoder row, which would only change its norm."""
    assert decoder.grad is not None
    along = torch.einsum("nd,nd->n", decoder.grad, decoder.detach())
    decoder.grad.addcmul_(decoder.detach(), along[:, None], value=-1)


def optimizer_state(tensors: dict[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    """Return the optimizer state by parameter from checkpoint tensors."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("moment."):
            _, index, key = name.split(".")
            state.setdefault(int(index), {})[key] = value
    return state
