"""Training a k-sparse autoencoder, against the libraries and the loop that a user would pick instead.

All sides train on the same rows with the same number of steps, batch and peak learning rate, one thread each; beside that,
ours trains for as long as the fastest of the others took. They are timed in CPU seconds, so that what else the machine does
counts for none. Rows are sparse sums of random directions, centred and scaled for every side as ours does by itself. SAELens
and Overcomplete run where ``EXPUNGE_PEERS_PYTHON`` names an interpreter that has them (`make peers` makes one); the loop in
plain PyTorch runs always.
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
from editor.bench.baseline_sae import train_plainly
from editor.bench.outcome import Bound, Outcome, at_least, at_most, measure
from editor.errors import FeatureError
from editor.features.sae.config import SaeConfig
from editor.features.sae.initialization import input_scale
from editor.features.sae.toy_superposition import ToySuperposition
from editor.features.sae.training import SaeTrainer

CONFIG = SaeConfig(latents=5120, k=32, batch=512, steps=150, learning_rate=3.5e-3)
"""The rate is best for each side at a fifth of the width, of 0.002, 0.004, 0.008 and 0.016, over the root of five: the entries
of unit rows shrink so with the width."""
WORLD = ToySuperposition(width=1280, directions=5120, active=32, spread=2.0)
"""Frequencies over decades, as features of real models have them. Were all about equally rare, no side would come below the
error of an untrained dictionary in so few steps, and errors would tell nothing."""
ROWS, HELD_OUT = 20_480, 2048
FASTER = 2.5
PEERS = ("sae-lens", "overcomplete")
INTERPRETER = "EXPUNGE_PEERS_PYTHON"


@dataclass(frozen=True)
class Side:
    """How one side did."""

    seconds: list[float]
    """CPU, of each step."""
    fvu: float
    """Held-out."""

    @property
    def rates(self) -> list[float]:
        """Steps a second, by tenths of the run."""
        part = max(1, len(self.seconds) // 10)
        return [part / sum(self.seconds[at : at + part]) for at in range(0, part * (len(self.seconds) // part), part)]


@dataclass(frozen=True)
class Data:
    """Rows to train on and rows to measure by, at mean square norm ``width``."""

    rows: Tensor
    held_out: Tensor

    def fvu(self, reconstructed: Tensor) -> float:
        """Of the held-out rows; their mean is that of the rows, 0."""
        return float((self.held_out - reconstructed).square().sum() / self.held_out.square().sum())


def run(config: SaeConfig = CONFIG, world: ToySuperposition = WORLD, rows: int = ROWS) -> Outcome:
    """All sides, one after the other."""
    torch.set_num_threads(1)
    data = prepare(world, rows)
    ours = train_ours(data, config)
    peers = {"plain PyTorch": train_plainly_timed(data, config)} | libraries(data, config)
    fastest = max(peers.values(), key=lambda side: measure(side.rates, "").median)
    mine, theirs = measure(ours.rates, "steps/s"), measure(fastest.rates, "steps/s")
    longer = train_ours(data, config.model_copy(update={"steps": round(config.steps * mine.median / theirs.median)}))
    return Outcome(
        name="sae",
        ours=mine,
        peer=theirs,
        ratio=measure([rate / theirs.median for rate in ours.rates], "x"),
        bounds=[bound for name, side in peers.items() for bound in bounds(name, ours, side)] + [in_time(longer, peers)],
    )


def bounds(name: str, ours: Side, peer: Side) -> list[Bound]:
    """Faster, at equal or better held-out error after as many steps."""
    ratio = measure(ours.rates, "").median / measure(peer.rates, "").median
    return [
        at_least(f"steps a second over {name}", ratio, FASTER),
        at_most(f"held-out FVU, beside {peer.fvu:.4f} of {name}", ours.fvu, peer.fvu),
    ]


def in_time(ours: Side, peers: Mapping[str, Side]) -> Bound:
    """After as much time."""
    best = min(side.fvu for side in peers.values())
    return at_most(f"held-out FVU after {len(ours.seconds)} steps, in the time of the fastest other", ours.fvu, best)


def prepare(world: ToySuperposition, rows: int) -> Data:
    """Centred and scaled by the rows to train on."""
    drawn, held_out = world.rows(rows, part=1), world.rows(HELD_OUT, part=2)
    mean, factor = drawn.mean(0), input_scale(drawn)
    return Data((drawn - mean) * factor, (held_out - mean) * factor)


def train_ours(data: Data, config: SaeConfig) -> Side:
    """Our training loop, step by step."""
    training = SaeTrainer(data.rows, config, torch.device("cpu"))
    clock = [time.process_time()]
    for _ in range(config.steps):
        training.train_step()
        clock.append(time.process_time())
    with torch.no_grad():
        return Side(differences(clock), data.fvu(training.sae(data.held_out)))


def train_plainly_timed(data: Data, config: SaeConfig) -> Side:
    """The usual loop."""
    stream = sae_competitors.Stream(data.rows, settings(config))
    reconstruct = train_plainly(stream, data.rows.shape[1], config)
    with torch.no_grad():
        return Side(stream.seconds(), data.fvu(reconstruct(data.held_out)))


def libraries(data: Data, config: SaeConfig) -> dict[str, Side]:
    """The libraries, where an interpreter is named that has them."""
    interpreter = os.environ.get(INTERPRETER)
    if not interpreter:
        sys.stderr.write(f"{INTERPRETER} is not set: SAELens and Overcomplete are left out (`make peers`).\n")
        return {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.safetensors"
        save_file({"rows": data.rows, "held_out": data.held_out}, path)
        return {name: library(interpreter, name, path, config) for name in PEERS}


def library(interpreter: str, name: str, data: Path, config: SaeConfig) -> Side:
    """One of them, in its own process."""
    command = [interpreter, sae_competitors.__file__, name, str(data), json.dumps(settings(config))]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    if done.returncode:
        raise FeatureError(
            f"{name} can't be trained by {interpreter}: {done.stderr.strip()[-200:]}",
            field=INTERPRETER,
            remedy="`make peers` makes an environment that has it.",
        )
    return Side(**json.loads(done.stdout.splitlines()[-1]))


def settings(config: SaeConfig) -> dict[str, float]:
    """What all sides share."""
    return config.model_dump(include={"latents", "k", "steps", "batch", "learning_rate"})


def differences(clock: list[float]) -> list[float]:
    """Of neighbours."""
    return [later - earlier for earlier, later in pairwise(clock)]
