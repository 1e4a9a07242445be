"""Make again what ships beside the embedded model: ``python -m research.emoji_features all``.

Recordings, checkpoints and drawn images go to ``--folder`` and are reused; a step that was interrupted goes on.
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
    "ip_adapter": "research.emoji.train_ip_adapter:make",
}
"""Name -> function of the folder to work in."""


def step(name: str) -> Step:
    """Imported when it is asked for."""
    module, _, function = STEPS[name].partition(":")
    found: Step = getattr(import_module(module), function)
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=(*STEPS, "all"))
    parser.add_argument("--folder", type=Path, default=Path("build/features"), help="recordings and checkpoints")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in STEPS if arguments.step == "all" else (arguments.step,):
        step(name)(arguments.folder)


if __name__ == "__main__":
    main()
