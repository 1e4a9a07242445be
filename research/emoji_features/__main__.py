"""Train the packaged feature extractors of the embedded model: ``python -m research.emoji_features all``.

Recordings, checkpoints and generated images are stored in ``--folder`` and reused; an interrupted step resumes.
"""

import argparse
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import torch

Step = Callable[[Path], None]
STEPS = {
    "diffc": "research.emoji_features.train_diffc:train",
    "unet_sae": "research.emoji_features.train_unet_sae:train",
    "clip_sae": "research.emoji_features.train_clip_sae:train",
    "ip_adapter": "research.emoji.train_ip_adapter:train_and_save",
}
"""Name -> function that takes the working folder."""


def load_step(name: str) -> Step:
    """Import the function of a step."""
    module, _, function = STEPS[name].partition(":")
    loaded: Step = getattr(import_module(module), function)
    return loaded


def main() -> None:
    """Run the steps named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=(*STEPS, "all"), help="step to run")
    parser.add_argument("--folder", type=Path, default=Path("build/features"), help="recordings and checkpoints")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in STEPS if arguments.step == "all" else (arguments.step,):
        load_step(name)(arguments.folder)


if __name__ == "__main__":
    main()
