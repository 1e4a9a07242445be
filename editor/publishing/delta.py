"""The delta: the edited tensors alone, bound to the base file by its digest.

It holds the *edited* tensors in the dtype of the base and under the names that the base has for them, so applying it is
a copy of bytes and gives the same file on every machine. Its header says which base file it belongs to.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from safetensors.torch import save
from torch import Tensor

from editor.errors import PublishingError
from editor.publishing.atomic import write_bytes
from editor.publishing.full import read_layout, write_full

FORMAT = "expunge-delta/1"


@dataclass(frozen=True)
class Binding:
    """What a delta belongs to."""

    base: str
    """The base file's path inside the model's folder, with forward slashes."""
    digest: str
    """sha256 of the base file."""
    request: str
    """Digest of what was removed from what; see :func:`editor.publishing.package.edit_digest`."""


def write_delta(tensors: Mapping[str, Tensor], binding: Binding, path: Path) -> None:
    """Write edited tensors by the names that the base file has for them.

    All metadata is one entry: safetensors writes several in random order, and the same edit must give the same bytes.
    """
    header = {
        "format": FORMAT,
        "base": {binding.base: binding.digest},
        "tensors": sorted(tensors),
        "request": binding.request,
    }
    contents = {name: tensor.contiguous() for name, tensor in tensors.items()}
    write_bytes(path, save(contents, metadata={"expunge": json.dumps(header)}))


def read_binding(path: Path) -> Binding:
    """What a delta belongs to.

    Raises:
        PublishingError: not a delta, or one whose base would lie outside the model's folder.
    """
    metadata = read_layout(path).metadata
    try:
        header = json.loads(metadata["expunge"])
        ((base, digest),) = header["base"].items()
        inside = not PurePosixPath(base).is_absolute() and ".." not in PurePosixPath(base).parts
        if header["format"] == FORMAT and inside:
            return Binding(base, digest, header["request"])
    except (KeyError, ValueError, TypeError, AttributeError):
        pass
    raise PublishingError(f"{path} is not a delta of format {FORMAT}.", remedy="Download it again.")


def apply_delta(base_dir: Path, delta: Path, out_dir: Path) -> Path:
    """Make the edited file from the base model's folder and a delta; returns its path under ``out_dir``.

    Raises:
        PublishingError: no delta, or not for this base. Nothing is written then.
    """
    binding = read_binding(delta)
    target = out_dir / binding.base
    write_full(base_dir / binding.base, delta, target, binding.digest)
    return target
