"""Recognise weights that were saved from a wrapped module: compiled, data-parallel, or with adapters."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from editor.errors import CheckpointError


@dataclass(frozen=True)
class Wrapper:
    """A wrapper that changes the names of a module's tensors."""

    part: str
    """What it adds to the names."""
    origin: str
    remedy: str


WRAPPERS = (
    Wrapper("_orig_mod", "by torch.compile", "Save the module inside: `model._orig_mod.save_pretrained(...)`."),
    Wrapper("module", "by DataParallel", "Save the module inside: `model.module.save_pretrained(...)`."),
    Wrapper("base_layer", "with PEFT adapters", "Merge the adapters before saving: `model.merge_and_unload()`."),
    Wrapper("base_model", "with PEFT adapters", "Merge the adapters before saving: `model.merge_and_unload()`."),
)


def check_unwrapped(path: Path, names: Iterable[str], *, within: str = "") -> None:
    """Raise CheckpointError if tensor names have a wrapper's part.

    Args:
        path: the file or folder that contains the tensors.
        names: the names of the tensors.
        within: only names with this prefix count.
    """
    ours = [name for name in names if name.startswith(within)]
    for wrapper in WRAPPERS:
        pattern = re.compile(rf"(?:^|\.){wrapper.part}\.")
        wrapped = next((name for name in ours if pattern.search(name.removeprefix(within))), None)
        if wrapped is not None:
            raise CheckpointError(
                f"The weights in {path} were saved {wrapper.origin}: {wrapped} contains {wrapper.part!r}.",
                field="model",
                remedy=wrapper.remedy,
            )
