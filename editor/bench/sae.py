"""Training a k-sparse autoencoder, against the libraries and the loop that a user would pick instead.

All sides train on the same rows with the same number of steps and batch, each at the learning rate that suits it, one thread
each. They are timed in CPU seconds, so that what else the machine does counts for none. Rows are sparse sums of random
directions, centred and scaled for every side as ours does by itself. SAELens and Overcomplete run where
``EXPUNGE_PEERS_PYTHON`` names an interpreter that has them (`make peers` makes one); the loop in plain PyTorch runs always.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from editor.bench import sae_peers
from editor.bench.form import Bound, Outcome, at_least, at_most, measure
from editor.bench.plain_sae import train_plainly
from editor.errors import FeatureError
from editor.features.sae.config import SaeConfig
from editor.features.sae.start import scale
from editor.features.sae.synthetic import Superposition
from editor.features.sae.training import Run

CONFIG = SaeConfig(latents=5120, k=32, batch=1024, steps=100)
RATES = {"ours": 3.5e-3, "plain PyTorch": 3.5e-3, "sae-lens": 2.5e-3, "overcomplete": 2.5e-3}
"""For each side the best of what was tried for it at a fifth of the width, between 0.0003 and 0.015, over the root of five: the
entries of unit rows shrink so with the width."""
WORLD = Superposition(width=1280, directions=5120, active=32)
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


def run(config: SaeConfig = CONFIG, world: Superposition = WORLD, rows: int = ROWS) -> Outcome:
    """All sides, one after the other."""
    torch.set_num_threads(1)
    data = prepare(world, rows)
    ours = train_ours(data, config)
    peers = {"plain PyTorch": train_plainly_timed(data, config)} | libraries(data, config)
    fastest = max(peers.values(), key=lambda side: measure(side.rates, "").median)
    mine, theirs = measure(ours.rates, "steps/s"), measure(fastest.rates, "steps/s")
    return Outcome(
        name="sae",
        ours=mine,
        peer=theirs,
        ratio=measure([rate / theirs.median for rate in ours.rates], "x"),
        bounds=[bound for name, side in peers.items() for bound in bounds(name, ours, side)],
    )


def bounds(name: str, ours: Side, peer: Side) -> list[Bound]:
    """Faster, at equal or better held-out error."""
    ratio = measure(ours.rates, "").median / measure(peer.rates, "").median
    return [
        at_least(f"steps a second over {name}", ratio, FASTER),
        at_most(f"held-out FVU, beside {peer.fvu:.4f} of {name}", ours.fvu, peer.fvu),
    ]


def prepare(world: Superposition, rows: int) -> Data:
    """Centred and scaled by the rows to train on."""
    drawn, held_out = world.rows(rows, part=1), world.rows(HELD_OUT, part=2)
    mean, factor = drawn.mean(0), scale(drawn)
    return Data((drawn - mean) * factor, (held_out - mean) * factor)


def train_ours(data: Data, config: SaeConfig) -> Side:
    """Our training loop, step by step."""
    training = Run(data.rows, at_rate(config, "ours"), torch.device("cpu"))
    clock = [time.process_time()]
    for _ in range(config.steps):
        training.advance()
        clock.append(time.process_time())
    with torch.no_grad():
        return Side(differences(clock), data.fvu(training.sae(data.held_out)))


def train_plainly_timed(data: Data, config: SaeConfig) -> Side:
    """The usual loop."""
    config = at_rate(config, "plain PyTorch")
    stream = sae_peers.Stream(data.rows, settings(config))
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
    command = [interpreter, sae_peers.__file__, name, str(data), json.dumps(settings(at_rate(config, name)))]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    if done.returncode:
        raise FeatureError(
            f"{name} can't be trained by {interpreter}: {done.stderr.strip()[-200:]}",
            field=INTERPRETER,
            remedy="`make peers` makes an environment that has it.",
        )
    return Side(**json.loads(done.stdout.splitlines()[-1]))


def at_rate(config: SaeConfig, name: str) -> SaeConfig:
    """With a side's own learning rate."""
    return config.model_copy(update={"learning_rate": RATES[name]})


def settings(config: SaeConfig) -> dict[str, float]:
    """What all sides share."""
    return config.model_dump(include={"latents", "k", "steps", "batch", "learning_rate"})


def differences(clock: list[float]) -> list[float]:
    """Of neighbours."""
    return [later - earlier for earlier, later in pairwise(clock)]
