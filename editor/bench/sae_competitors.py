"""Train a sparse autoencoder with a peer library. Run as a file, by an interpreter that has the library but not this package:

    python sae_competitors.py NAME DATA.safetensors SETTINGS

NAME is sae-lens or overcomplete, SETTINGS a JSON object. Each library trains by its own loop, on the same rows in the same
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


class BatchStream:
    """Yields the batch of each step, and times the steps: a request for a batch ends the previous step."""

    def __init__(self, rows: Tensor, settings: dict[str, Any]) -> None:
        self.rows, self.steps, self.batch = rows, settings["steps"], settings["batch"]
        self.request_times: list[float] = []

    def __iter__(self) -> Iterator[Tensor]:
        batches = torch.split(self.rows, self.batch)
        for step in range(self.steps):
            self.request_times.append(time.process_time())
            yield batches[step % len(batches)]
        self.request_times.append(time.process_time())

    def step_seconds(self) -> list[float]:
        """Return the CPU seconds of each step. The last step is missing if the trainer never exhausts the stream."""
        return [later - earlier for earlier, later in pairwise(self.request_times)]


def train_sae_lens(stream: BatchStream, settings: dict[str, Any]) -> Reconstruct:
    """Train with SAELens' ``SAETrainer``; as in its guide, the learning rate decays over the last fifth."""
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


def train_overcomplete(stream: BatchStream, settings: dict[str, Any]) -> Reconstruct:
    """Train with Overcomplete as in its README: Adam on the mean square error, with the default encoder."""
    skip_package_init("overcomplete")
    from overcomplete.sae import TopKSAE, train_sae

    sae = TopKSAE(stream.rows.shape[1], nb_concepts=settings["latents"], top_k=settings["k"])
    optimiser = torch.optim.Adam(sae.parameters(), lr=settings["learning_rate"])
    train_sae(sae, stream, lambda x, found, *_: (x - found).square().mean(), optimiser, nb_epochs=1, monitoring=0)
    sae.eval()
    return lambda x: sae(x)[2]


def skip_package_init(package: str) -> None:
    """Make sub-packages importable without the package's ``__init__``, which imports vision models that SAEs do not need."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    root = types.ModuleType(package)
    root.__path__ = list(spec.submodule_search_locations)
    sys.modules[package] = root


def main(name: str, data: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Train with one library, and return its figures."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    tensors = load_file(data)
    stream = BatchStream(tensors["rows"], settings)
    train = {"sae-lens": train_sae_lens, "overcomplete": train_overcomplete}[name]
    reconstruct = train(stream, settings)
    held_out = tensors["held_out"]
    with torch.no_grad():
        fvu = (held_out - reconstruct(held_out)).square().sum() / held_out.square().sum()
    return {"seconds": stream.step_seconds(), "fvu": float(fvu)}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3]))))  # noqa: T201
