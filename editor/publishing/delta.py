"""The delta: the edited tensors alone, each bound to the original that it replaces by that one's digest.

It holds the *edited* tensors in the dtype of the base, so applying it is a copy of bytes and gives the same file on every
machine. One delta covers an edit of several files (SDXL has two text encoders). Its header says, per base file, which
tensors are replaced and what their bytes hashed to: that is checked before anything is written, and costs as much for a
7 GB checkpoint as for a small one.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from safetensors.torch import save
from torch import Tensor

from api_schemas.overlays import Segment
from editor.checkpoints.files import file_digest
from editor.checkpoints.header import Span, read_layout
from editor.checkpoints.reading import as_bytes
from editor.errors import CheckpointError, PublishingError
from editor.publishing.atomic import replacing, write_bytes
from editor.publishing.companions import write_companions
from editor.publishing.full import Advance, chunks, located, quietly, segments_of, write_segments
from editor.quickfix.update import TensorUpdate

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
    """Digest of what was removed from what; see :func:`editor.publishing.package.edit_digest`."""
    files: dict[str, BaseFile]
    """By their paths inside the model, with forward slashes; a single-file checkpoint goes by its name."""

    @model_validator(mode="after")
    def _inside(self) -> Self:
        for name in self.files:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name:
                raise ValueError(f"{name!r} lies outside of the model")
        return self


@dataclass(frozen=True)
class Patch:
    """A base file that a delta fits, and how the edited file is put together."""

    name: str
    """The file's path inside the model."""
    base: Path
    segments: tuple[Segment, ...]

    @property
    def size(self) -> int:
        """Bytes of the edited file."""
        return sum(segment.size for segment in self.segments)


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
    for update in updates:
        original = Original(component=update.component, name=update.name, sha256=tensor_digest(update.base))
        files.setdefault(name_in(model, update.file), {})[update.stored_name] = original
    bound = {name: BaseFile(sha256=digests.get(name), tensors=tensors) for name, tensors in files.items()}
    binding = Binding(request=request, files=bound)
    contents = {key(name_in(model, u.file), u.stored_name): u.edited.contiguous() for u in updates}
    header = json.dumps(binding.model_dump(), sort_keys=True)
    write_bytes(path, save(contents, metadata={ENTRY: header}))
    return binding


def key(file: str, tensor: str) -> str:
    """A tensor's name in the delta. Two files may have tensors of the same name."""
    return f"{file}:{tensor}"


def name_in(model: Path, file: Path) -> str:
    """A file's path inside the model."""
    return file.name if file == model else file.relative_to(model).as_posix()


def tensor_digest(tensor: Tensor) -> str:
    """sha256 of a tensor's bytes, as a safetensors file has them."""
    return hashlib.sha256(as_bytes(tensor.contiguous())).hexdigest()


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


def patches(model: Path, delta: Path, *, verify_file: bool = False) -> list[Patch]:
    """Check that a delta belongs to a model, and plan the edited files.

    Args:
        model: a model's folder, or a single-file checkpoint.
        delta: the delta.
        verify_file: hash the whole base files too, not only the tensors that are replaced.

    Raises:
        PublishingError: no delta, or not for this model.
    """
    binding, spans = read_header(delta)
    if model.is_file() and len(binding.files) > 1:
        raise PublishingError(f"{delta} is for the files {', '.join(binding.files)}.", field="model")
    found = []
    for name, file in binding.files.items():
        base = located(model, name)
        found.append(Patch(name, base, segments_of(base, {t: spans[key(name, t)] for t in file.tensors})))
        check_originals(base, file)
        if verify_file:
            check_file(base, file.sha256)
    return found


def check_originals(base: Path, file: BaseFile) -> None:
    """The tensors to be replaced are the ones that the edit was made from. Raises PublishingError."""
    places = read_layout(base).spans
    with base.open("rb") as source:
        for name, original in file.tensors.items():
            digest = hashlib.sha256()
            for chunk in chunks(source, places[name].start, places[name].end):
                digest.update(chunk)
            if digest.hexdigest() != original.sha256:
                raise another_base(base, f"{name} was {original.sha256}")


def check_file(base: Path, digest: str | None) -> None:
    """The whole file is the one that the edit was made from. Raises PublishingError."""
    if digest is None:
        raise PublishingError(
            "The delta does not say what the whole base file hashed to.",
            remedy="Leave out --verify-file: the tensors that it replaces are checked in any case.",
        )
    if file_digest(base) != digest:
        raise another_base(base, f"the file was {digest}")


def another_base(base: Path, why: str) -> PublishingError:
    """The refusal of a base."""
    return PublishingError(
        f"{base} is not the file that the edit was made for (sha256: {why}).",
        field="model",
        remedy="Use that very base model, not another version, precision or edit of it.",
    )


def apply_delta(model: Path, delta: Path, out: Path, *, verify_file: bool = False) -> list[Path]:
    """Make the edited files from the base model and a delta; all of them or none.

    Args:
        model: a model's folder, or a single-file checkpoint.
        delta: the delta.
        out: for a folder, where the edited files go, with what must lie beside them (``config.json``); for a
            single-file checkpoint the edited file, or an existing folder for it.
        verify_file: see :func:`patches`.

    Returns:
        The edited files.

    Raises:
        PublishingError: no delta, not for this model, or ``out`` is the base itself. Nothing is written then.
    """
    return write_patches(patches(model, delta, verify_file=verify_file), model, delta, out)


def write_patches(plan: Sequence[Patch], model: Path, delta: Path, out: Path, advance: Advance = quietly) -> list[Path]:
    """:func:`apply_delta`, once its plan is made; ``advance`` is told how many bytes have just been written."""
    targets = [target_of(model, patch, out) for patch in plan]
    with ExitStack() as stack:
        for patch, target in zip(plan, targets, strict=True):
            write_segments(patch.segments, patch.base, delta, stack.enter_context(replacing(target)), advance)
    if model.is_dir():
        write_companions(model, [patch.name for patch in plan], out)
    return targets


def target_of(model: Path, patch: Patch, out: Path) -> Path:
    """Where an edited file goes. Raises PublishingError: onto its own base."""
    target = out / patch.name if model.is_dir() else out / model.name if out.is_dir() else out
    if target.exists() and target.samefile(patch.base):
        raise PublishingError(
            f"{target} is the base itself.",
            field="out",
            remedy="Name another place: the base is needed to undo the edit.",
        )
    return target
