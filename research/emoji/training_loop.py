"""The training loop of every part of the embedded model: seeded, resumable, with a progress bar. Imported, not run.

The batch of a step depends only on (seed, step), so an interrupted run that resumes from its checkpoint sees the same
data. Checkpoints are safetensors, written atomically. A step's batch is split into shards whose gradients are computed in
one thread and core each, which on CPUs is a fifth faster than one batch spread over all cores.
"""

import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import cos, pi
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

CHECKPOINT_SECONDS = 120


@dataclass(frozen=True)
class TrainingPlan:
    """Training settings. ``learning_rate`` is the peak of a warm-up and cosine schedule."""

    steps: int
    batch: int
    """Number of samples in a shard."""
    learning_rate: float
    seed: int = 0
    weight_decay: float = 0.01
    warmup: int = 50
    shards: int = 1
    averaging: float = 0.995
    """Decay of the exponential moving average of the weights, which training returns."""


LossFn = Callable[[torch.Generator], Tensor]
"""Draws a batch with the generator and returns its loss."""


def generator_for(plan: TrainingPlan, step: int, shard: int) -> torch.Generator:
    """Return the generator for one shard of one step."""
    return torch.Generator().manual_seed(plan.seed * 1_000_003 + step * plan.shards + shard)


def learning_rate(plan: TrainingPlan, step: int) -> float:
    """Return the rate of a step: linear warm-up, then a cosine down to a hundredth of the peak."""
    warm = min(1.0, (step + 1) / plan.warmup)
    return plan.learning_rate * warm * (0.01 + 0.99 * (1 + cos(pi * step / plan.steps)) / 2)


def autocast() -> torch.autocast:
    """Return a context manager for bf16 if the CPU supports it, else fp32."""
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]


class TrainingRun:
    """A model in training with its optimiser and its averaged weights."""

    def __init__(self, model: nn.Module, plan: TrainingPlan) -> None:
        self.model, self.plan, self.step = model, plan, 0
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.averaged = [p.detach().clone() for p in self.parameters]
        self.optimiser = torch.optim.AdamW(
            self.parameters, lr=plan.learning_rate, weight_decay=plan.weight_decay, betas=(0.9, 0.99), fused=True
        )

        self.threads = ThreadPoolExecutor(plan.shards, initializer=torch.set_num_threads, initargs=(1,))

    def shard(self, loss_of: LossFn, index: int) -> tuple[float, tuple[Tensor, ...]]:
        """Return loss and gradients of one shard. ``autograd.grad`` does not touch the shared ``.grad`` fields."""
        loss = loss_of(generator_for(self.plan, self.step, index))
        return float(loss.detach()), torch.autograd.grad(loss, self.parameters, materialize_grads=True)

    def train_step(self, loss_of: LossFn) -> float:
        """Run one step and return the mean loss of the shards. The weight update uses all cores."""
        losses, gradients = zip(
            *self.threads.map(lambda index: self.shard(loss_of, index), range(self.plan.shards)), strict=True
        )
        for parameter, *parts in zip(self.parameters, *gradients, strict=True):
            parameter.grad = sum(parts[1:], parts[0]) / len(parts)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.plan, self.step)
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimiser.step()
        self.step += 1
        decay = min(self.plan.averaging, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(self.averaged, [p.detach() for p in self.parameters], 1 - decay)
        return float(sum(losses)) / len(losses)

    def use_average(self) -> None:
        """Copy the averaged weights to the model."""
        with torch.no_grad():
            for parameter, mean in zip(self.parameters, self.averaged, strict=True):
                parameter.copy_(mean)

    def save(self, path: Path) -> None:
        """Save weights, averages and optimiser moments atomically."""
        tensors = {f"average.{i}": t for i, t in enumerate(self.averaged)}
        tensors |= {f"weight.{i}": p.detach() for i, p in enumerate(self.parameters)}
        for i, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"moment.{i}.{key}": value for key, value in state.items()}
        partial = path.with_suffix(".partial")
        tensors = {key: value.contiguous() for key, value in tensors.items()}
        save_file(tensors, partial, metadata={"step": json.dumps(self.step)})
        os.replace(partial, path)

    def resume(self, path: Path) -> None:
        """Load the checkpoint at ``path`` if it exists."""
        if not path.exists():
            return
        with safe_open(path, "pt") as file, torch.no_grad():
            self.step = json.loads(file.metadata()["step"])
            state: dict[int, dict[str, Tensor]] = {}
            for key in file.keys():  # noqa: SIM118  (safe_open is not a dict)
                kind, index, *rest = key.split(".")
                if kind == "moment":
                    state.setdefault(int(index), {})[rest[0]] = file.get_tensor(key)
                else:
                    home = self.averaged if kind == "average" else self.parameters
                    home[int(index)].copy_(file.get_tensor(key))
        self.optimiser.load_state_dict(self.optimiser.state_dict() | {"state": state})


def train(name: str, model: nn.Module, plan: TrainingPlan, loss_of: LossFn, folder: Path) -> nn.Module:
    """Train ``model`` to the end of ``plan``, resuming from ``folder/name.safetensors``; return it with averaged weights.

    The smoothed losses are logged to ``folder/name.jsonl``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint, run = folder / f"{name}.safetensors", TrainingRun(model.train(), plan)
    run.resume(checkpoint)
    saved = time.monotonic()
    smooth: float | None = None
    with (
        (folder / f"{name}.jsonl").open("a") as log,
        tqdm(total=plan.steps, initial=run.step, desc=name, mininterval=5) as bar,
    ):
        while run.step < plan.steps:
            loss = run.train_step(loss_of)
            smooth = loss if smooth is None else 0.98 * smooth + 0.02 * loss
            bar.update()
            if run.step % 20 == 0:
                bar.set_postfix(loss=f"{smooth:.4f}", refresh=False)
                log.write(json.dumps({"step": run.step, "loss": round(smooth, 5)}) + "\n")
                log.flush()
            if time.monotonic() - saved > CHECKPOINT_SECONDS or run.step == plan.steps:
                run.save(checkpoint)
                saved = time.monotonic()
    run.use_average()
    return model.eval()
