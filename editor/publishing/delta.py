"""The delta: a safetensors file with the edited tensors only.

It stores the *edited* tensors in the dtype of the base model, so applying it copies bytes and gives the same file on every
machine. One delta covers an edit of several files (SDXL has two text encoders). For each base file, its header lists the
replaced tensors and the digests of the originals.
"""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from safetensors.torch import save

from api_schemas.report import TensorRecord
from editor.checkpoints.inspect import DELTA_METADATA_KEY
from editor.checkpoints.safetensors_header import TensorSpan, read_layout
from editor.checkpoints.tensor_reader import DTYPES
from editor.checkpoints.tensor_update import TensorUpdate
from editor.errors import CheckpointError, PublishingError
from editor.io.atomic import write_bytes
from editor.io.digests import tensor_digest


class HeaderPart(BaseModel):
    """Base class of the header's records."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ReplacedTensor(HeaderPart):
    """An original tensor that the delta replaces."""

    component: str
    """``text_encoder`` or ``text_encoder_2``."""
    name: str
    """The canonical name: transformers' with the prefix ``text_model.``."""
    sha256: str
    """The sha256 of the replaced bytes."""


class BaseFile(HeaderPart):
    """A file of the base model."""

    sha256: str | None
    """The sha256 of the whole file, if known."""
    tensors: dict[str, ReplacedTensor]
    """The replaced tensors by their names in the file."""


class DeltaHeader(HeaderPart):
    """The metadata of a delta: which base files and tensors it replaces."""

    format: Literal["expunge-delta/2"] = "expunge-delta/2"
    request: str
    """The digest of the edit; see :func:`editor.publishing.bundle.edit_digest`."""
    files: dict[str, BaseFile]
    """By their paths inside the model, with forward slashes; for a single-file checkpoint, by its name."""

    @model_validator(mode="after")
    def _inside(self) -> Self:
        for name in self.files:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name:
                raise ValueError(f"{name!r} is outside the model folder")
        return self


def write_delta(
    updates: Sequence[TensorUpdate], model: Path, path: Path, *, request: str = "", digests: Mapping[str, str] = {}
) -> DeltaHeader:
    """Write the delta of an edit, which may span several files.

    Args:
        updates: the tensor updates.
        model: the base model: the folder that contains all of the files, or the single file.
        path: the delta file to write.
        request: the digest of the edit; see :class:`DeltaHeader`.
        digests: sha256 of whole base files by their paths inside the model, as far as known.
    """
    files: dict[str, dict[str, ReplacedTensor]] = {}
    with ThreadPoolExecutor() as pool:  # digests on one core, products on the others
        digests_before = pool.map(tensor_digest, [update.base for update in updates])
        contents = {delta_key(path_in_model(model, u.file), u.stored_name): u.edited.contiguous() for u in updates}
    for update, digest in zip(updates, digests_before, strict=True):
        original = ReplacedTensor(component=update.component, name=update.name, sha256=digest)
        files.setdefault(path_in_model(model, update.file), {})[update.stored_name] = original
    base_files = {name: BaseFile(sha256=digests.get(name), tensors=tensors) for name, tensors in files.items()}
    header = DeltaHeader(request=request, files=base_files)
    write_bytes(path, save(contents, metadata={DELTA_METADATA_KEY: json.dumps(header.model_dump(), sort_keys=True)}))
    return header


def delta_key(file: str, tensor: str) -> str:
    """Return a tensor's name in the delta, which contains the file because two files may have tensors of the same name."""
    return f"{file}:{tensor}"


def path_in_model(model: Path, file: Path) -> str:
    """Return a file's path inside the model."""
    return file.name if file == model else file.relative_to(model).as_posix()


def tensor_record(update: TensorUpdate) -> TensorRecord:
    """Record the digests of the original and the edited tensor in every precision that it may be deployed in."""
    stored = next(name for name, dtype in DTYPES.items() if dtype == update.base.dtype)
    edited = update.edited
    return TensorRecord(
        component=update.component,
        name=update.name,
        dtype=stored,
        base={name: tensor_digest(update.base.to(dtype)) for name, dtype in DTYPES.items()},
        edited={name: tensor_digest(edited.to(dtype)) for name, dtype in DTYPES.items()},
    )


def read_header(delta: Path) -> DeltaHeader:
    """Read the header of a delta.

    Raises:
        PublishingError: the file is not a delta, or names a file outside the model folder.
    """
    return open_delta(delta)[0]


def open_delta(delta: Path) -> tuple[DeltaHeader, dict[str, TensorSpan]]:
    """Read the header of a delta, and the byte range of each of its tensors. Raises as :func:`read_header`."""
    try:
        layout = read_layout(delta)
        header = DeltaHeader.model_validate_json(layout.metadata.get(DELTA_METADATA_KEY, ""))
    except (CheckpointError, ValidationError) as error:
        raise PublishingError(
            f"{delta} is not a delta of format 2.", field="delta", remedy="Download it again."
        ) from error
    named = {delta_key(name, tensor) for name, file in header.files.items() for tensor in file.tensors}
    if not named or named != layout.spans.keys():
        raise PublishingError(
            f"{delta} does not contain the tensors that its header lists.", field="delta", remedy="Download it again."
        )
    return header, layout.spans
