"""Peers of the sparse autoencoder's benchmark. Run as a file, by an interpreter that has them and not us:

    python sae_peers.py NAME DATA.safetensors SETTINGS

NAME is a function of this file, SETTINGS a JSON object. Each peer trains by its own loop, on the same rows in the same
order. Prints one JSON object: CPU seconds of each step, and the held-out FVU.
"""

import importlib.util
import json
import sys
import time
import types
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

Reconstruct = Callable[[Tensor], Tensor]


class Stream:
    """The batch of each step. When a step asks for its rows, the one before has ended."""

    def __init__(self, rows: Tensor, settings: dict[str, Any]) -> None:
        self.rows, self.steps, self.batch = rows, settings["steps"], settings["batch"]
        self.asked: list[float] = []

    def __iter__(self) -> Iterator[Tensor]:
        parts = torch.split(self.rows, self.batch)
        for step in range(self.steps):
            self.asked.append(time.process_time())
            yield parts[step % len(parts)]
        self.asked.append(time.process_time())

    def seconds(self) -> list[float]:
        """Of each step but the last, whose end nobody may ask for."""
        return [later - earlier for earlier, later in pairwise(self.asked)]


def sae_lens(stream: Stream, settings: dict[str, Any]) -> Reconstruct:
    """SAELens: ``SAETrainer`` over any iterator of activations; the rate falls over the last fifth, as its guide has it."""
    from sae_lens import TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.config import SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    shape = TopKTrainingSAEConfig(d_in=stream.rows.shape[1], d_sae=settings["latents"], k=settings["k"])
    trainer = SAETrainerConfig(
        total_training_samples=stream.steps * stream.batch,
        train_batch_size_samples=stream.batch,
        lr=settings["learning_rate"],
        lr_end=settings["learning_rate"],
        lr_decay_steps=stream.steps // 5,
    )
    sae = SAETrainer(trainer, TopKTrainingSAE(shape), iter(stream)).fit()
    return lambda x: sae.decode(sae.encode(x))


def overcomplete(stream: Stream, settings: dict[str, Any]) -> Reconstruct:
    """Overcomplete, as its read-me trains: Adam on the mean square error, with its default encoder."""
    skip_root("overcomplete")
    from overcomplete.sae import TopKSAE, train_sae

    sae = TopKSAE(stream.rows.shape[1], nb_concepts=settings["latents"], top_k=settings["k"])
    optimiser = torch.optim.Adam(sae.parameters(), lr=settings["learning_rate"])
    train_sae(sae, stream, lambda x, found, *_: (x - found).square().mean(), optimiser, nb_epochs=1, monitoring=0)
    sae.eval()
    return lambda x: sae(x)[2]


def skip_root(package: str) -> None:
    """Import sub-packages without the package's ``__init__``: that one wants vision models, autoencoders don't."""
    found = importlib.util.find_spec(package)
    assert found is not None
    assert found.submodule_search_locations is not None
    root = types.ModuleType(package)
    root.__path__ = list(found.submodule_search_locations)
    sys.modules[package] = root


def main(name: str, data: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Train one peer."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    tensors = load_file(data)
    stream = Stream(tensors["rows"], settings)
    reconstruct = {"sae-lens": sae_lens, "overcomplete": overcomplete}[name](stream, settings)
    held_out = tensors["held_out"]
    with torch.no_grad():
        left = (held_out - reconstruct(held_out)).square().sum() / held_out.square().sum()
    return {"seconds": stream.seconds(), "fvu": float(left)}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3]))))  # noqa: T201
