"""Benchmark of training a k-sparse autoencoder against the libraries, and the plain loop, that a user would choose instead.

All sides train on the same rows with the same number of steps, batch size and peak learning rate, in one thread each; ours
also trains for as long as the fastest other side took. Times are CPU seconds, which other load on the machine does not affect.
Rows are sparse sums of random directions, centred and scaled for every side as our training does it. SAELens and Overcomplete
run if ``EXPUNGE_PEERS_PYTHON`` names an interpreter that has them (`make peers` creates one); the plain PyTorch loop always
runs.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from editor.bench import sae_competitors
from editor.bench.baseline_sae import train_baseline
from editor.bench.outcome import BenchmarkResult, Bound, at_least, at_most, summarize
from editor.errors import FeatureError
from editor.features.sae.config import SaeConfig
from editor.features.sae.initialization import input_scale
from editor.features.sae.toy_superposition import ToySuperposition
from editor.features.sae.training import SaeTrainer

CONFIG = SaeConfig(latents=5120, k=32, batch=512, steps=150, learning_rate=3.5e-3)
"""The learning rate that is best for each side at a fifth of the width (of 0.002, 0.004, 0.008 and 0.016), divided by the
square root of five, because the entries of unit rows shrink by that factor with the width."""
DATA = ToySuperposition(width=1280, directions=5120, active=32, spread=2.0)
"""Feature frequencies span decades, as in real models. If all features were about equally rare, no side would beat an
untrained dictionary in so few steps, and the errors would not discriminate."""
ROWS, HELD_OUT_ROWS = 20_480, 2048
MIN_SPEEDUP = 2.5
LIBRARIES = ("sae-lens", "overcomplete")
PYTHON_VARIABLE = "EXPUNGE_PEERS_PYTHON"


@dataclass(frozen=True)
class TrainingRun:
    """Times and error of one side."""

    seconds: list[float]
    """CPU seconds of each step."""
    fvu: float
    """Held-out fraction of variance unexplained."""

    @property
    def rates(self) -> list[float]:
        """Steps per second in each tenth of the run."""
        part = max(1, len(self.seconds) // 10)
        return [part / sum(self.seconds[at : at + part]) for at in range(0, part * (len(self.seconds) // part), part)]


@dataclass(frozen=True)
class TrainingData:
    """Training and held-out rows, with mean square norm ``width``."""

    rows: Tensor
    held_out: Tensor

    def fvu(self, reconstructed: Tensor) -> float:
        """Return the FVU of reconstructed held-out rows. Their mean is that of the training rows, 0."""
        return float((self.held_out - reconstructed).square().sum() / self.held_out.square().sum())


def run(config: SaeConfig = CONFIG, data: ToySuperposition = DATA, rows: int = ROWS) -> BenchmarkResult:
    """Train all sides, one after the other."""
    torch.set_num_threads(1)
    training_data = prepare_data(data, rows)
    ours = train_ours(training_data, config)
    peers = {"plain PyTorch": train_plain_loop(training_data, config)} | train_libraries(training_data, config)
    fastest = max(peers.values(), key=lambda peer: summarize(peer.rates, "").median)
    our_rate, peer_rate = summarize(ours.rates, "steps/s"), summarize(fastest.rates, "steps/s")
    steps_in_equal_time = round(config.steps * our_rate.median / peer_rate.median)
    longer = train_ours(training_data, config.model_copy(update={"steps": steps_in_equal_time}))
    return BenchmarkResult(
        name="sae",
        ours=our_rate,
        peer=peer_rate,
        ratio=summarize([rate / peer_rate.median for rate in ours.rates], "x"),
        bounds=[
            *(bound for name, peer in peers.items() for bound in equal_steps_bounds(name, ours, peer)),
            equal_time_bound(longer, peers),
        ],
    )


def equal_steps_bounds(name: str, ours: TrainingRun, peer: TrainingRun) -> list[Bound]:
    """Require a higher rate, and an equal or lower held-out error after as many steps."""
    ratio = summarize(ours.rates, "").median / summarize(peer.rates, "").median
    return [
        at_least(f"steps a second over {name}", ratio, MIN_SPEEDUP),
        at_most(f"held-out FVU, against {peer.fvu:.4f} of {name}", ours.fvu, peer.fvu),
    ]


def equal_time_bound(ours: TrainingRun, peers: Mapping[str, TrainingRun]) -> Bound:
    """Require an equal or lower held-out error after as much time."""
    best = min(peer.fvu for peer in peers.values())
    return at_most(f"held-out FVU after {len(ours.seconds)} steps, in the time of the fastest other", ours.fvu, best)


def prepare_data(data: ToySuperposition, rows: int) -> TrainingData:
    """Centre and scale both parts by the training rows."""
    training, held_out = data.rows(rows, part=1), data.rows(HELD_OUT_ROWS, part=2)
    mean, factor = training.mean(0), input_scale(training)
    return TrainingData((training - mean) * factor, (held_out - mean) * factor)


def train_ours(data: TrainingData, config: SaeConfig) -> TrainingRun:
    """Train by our own loop, step by step."""
    training = SaeTrainer(data.rows, config, torch.device("cpu"))
    clock = [time.process_time()]
    for _ in range(config.steps):
        training.train_step()
        clock.append(time.process_time())
    seconds = [later - earlier for earlier, later in pairwise(clock)]
    with torch.no_grad():
        return TrainingRun(seconds, data.fvu(training.sae(data.held_out)))


def train_plain_loop(data: TrainingData, config: SaeConfig) -> TrainingRun:
    """Train by a plain PyTorch loop."""
    stream = sae_competitors.BatchStream(data.rows, shared_settings(config))
    reconstruct = train_baseline(stream, data.rows.shape[1], config)
    with torch.no_grad():
        return TrainingRun(stream.step_seconds(), data.fvu(reconstruct(data.held_out)))


def train_libraries(data: TrainingData, config: SaeConfig) -> dict[str, TrainingRun]:
    """Train by each library, if an interpreter that has them is configured."""
    interpreter = os.environ.get(PYTHON_VARIABLE)
    if not interpreter:
        sys.stderr.write(f"{PYTHON_VARIABLE} is not set: SAELens and Overcomplete are skipped (see `make peers`).\n")
        return {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.safetensors"
        save_file({"rows": data.rows, "held_out": data.held_out}, path)
        return {name: train_library(interpreter, name, path, config) for name in LIBRARIES}


def train_library(interpreter: str, name: str, data: Path, config: SaeConfig) -> TrainingRun:
    """Train by one library in a process of its own."""
    command = [interpreter, sae_competitors.__file__, name, str(data), json.dumps(shared_settings(config))]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    if done.returncode:
        raise FeatureError(
            f"{interpreter} cannot train {name}: {done.stderr.strip()[-200:]}",
            field=PYTHON_VARIABLE,
            remedy="Run `make peers` to create an environment with the libraries.",
        )
    return TrainingRun(**json.loads(done.stdout.splitlines()[-1]))


def shared_settings(config: SaeConfig) -> dict[str, float]:
    """Return the settings that all sides have in common."""
    return config.model_dump(include={"latents", "k", "steps", "batch", "learning_rate"})
