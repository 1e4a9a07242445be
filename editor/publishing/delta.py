"""The delta: the edited tensors alone, each bound to the original that it replaces by that one's digest.

It holds the *edited* tensors in the dtype of the base, so applying it is a copy of bytes and gives the same file on every
machine. One delta covers an edit of several files (SDXL has two text encoders). Its header says, per base file, which
tensors are replaced and what their bytes hashed to.
"""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from safetensors.torch import save

from api_schemas.report import TensorRecord
from editor.checkpoints.safetensors_header import Span, read_layout
from editor.checkpoints.tensor_reader import DTYPES, tensor_digest
from editor.errors import CheckpointError, PublishingError
from editor.io.atomic import write_bytes
from editor.methods.tensor_update import TensorUpdate

ENTRY = "expunge"
"""The one metadata entry: safetensors writes several in random order, and the same edit must give the same bytes."""


class Part(BaseModel):
    """Base of the header's parts."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Original(Part):
    """A tensor that is replaced."""

    component: str
    """``text_encoder`` or ``text_encoder_2``."""
    name: str
    """As transformers calls it, with ``text_model.`` in front."""
    sha256: str
    """Of the bytes that are replaced."""


class BaseFile(Part):
    """A file of the base model."""

    sha256: str | None
    """Of the whole file, where that was known."""
    tensors: dict[str, Original]
    """By the names that the file has for them."""


class Binding(Part):
    """What a delta belongs to: the header's entry."""

    format: Literal["expunge-delta/2"] = "expunge-delta/2"
    request: str
    """Digest of what was removed from what; see :func:`editor.publishing.bundle.edit_digest`."""
    files: dict[str, BaseFile]
    """By their paths inside the model, with forward slashes; a single-file checkpoint goes by its name."""

    @model_validator(mode="after")
    def _inside(self) -> Self:
        for name in self.files:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name:
                raise ValueError(f"{name!r} lies outside of the model")
        return self


def write_delta(
    updates: Sequence[TensorUpdate], model: Path, path: Path, *, request: str = "", digests: Mapping[str, str] = {}
) -> Binding:
    """Write the edited tensors of any number of files.

    Args:
        updates: what changes.
        model: the base model: a folder above all of the files, or the one file.
        path: of the delta.
        request: see :class:`Binding`.
        digests: sha256 of whole base files by their paths inside the model, as far as they are known.
    """
    files: dict[str, dict[str, Original]] = {}
    with ThreadPoolExecutor() as pool:  # digests on one core, products on the others
        digests_before = pool.map(tensor_digest, [update.base for update in updates])
        contents = {key(name_in(model, u.file), u.stored_name): u.edited.contiguous() for u in updates}
    for update, digest in zip(updates, digests_before, strict=True):
        original = Original(component=update.component, name=update.name, sha256=digest)
        files.setdefault(name_in(model, update.file), {})[update.stored_name] = original
    bound = {name: BaseFile(sha256=digests.get(name), tensors=tensors) for name, tensors in files.items()}
    binding = Binding(request=request, files=bound)
    header = json.dumps(binding.model_dump(), sort_keys=True)
    write_bytes(path, save(contents, metadata={ENTRY: header}))
    return binding


def key(file: str, tensor: str) -> str:
    """A tensor's name in the delta. Two files may have tensors of the same name."""
    return f"{file}:{tensor}"


def name_in(model: Path, file: Path) -> str:
    """A file's path inside the model."""
    return file.name if file == model else file.relative_to(model).as_posix()


def tensor_record(update: TensorUpdate) -> TensorRecord:
    """What was replaced by what, in each precision that it may be deployed in."""
    stored = next(name for name, dtype in DTYPES.items() if dtype == update.base.dtype)
    edited = update.edited
    return TensorRecord(
        component=update.component,
        name=update.name,
        dtype=stored,
        base={name: tensor_digest(update.base.to(dtype)) for name, dtype in DTYPES.items()},
        edited={name: tensor_digest(edited.to(dtype)) for name, dtype in DTYPES.items()},
    )


def read_binding(delta: Path) -> Binding:
    """What a delta belongs to.

    Raises:
        PublishingError: not a delta, or one for a file outside of the model.
    """
    return read_header(delta)[0]


def read_header(delta: Path) -> tuple[Binding, dict[str, Span]]:
    """What a delta belongs to, and where it has which tensor."""
    try:
        layout = read_layout(delta)
        binding = Binding.model_validate_json(layout.metadata.get(ENTRY, ""))
    except (CheckpointError, ValidationError) as error:
        raise PublishingError(f"{delta} is not a delta of format 2.", remedy="Download it again.") from error
    named = {key(name, tensor) for name, file in binding.files.items() for tensor in file.tensors}
    if not named or named != layout.spans.keys():
        raise PublishingError(f"{delta} does not hold what its header says.", remedy="Download it again.")
    return binding, layout.spans
