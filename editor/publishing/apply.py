"""Apply a delta: check that it belongs to the base model, then write the edited files.

Only the replaced tensors are checked, by their digests, so the check takes the same time for a 7 GB checkpoint as for a small
one. The base model may have another layout than the one that was edited (a single file instead of a folder, for example), as
long as it has the same tensors: they are found by their canonical names.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from api_schemas.overlays import Segment
from editor.checkpoints import open_checkpoint
from editor.checkpoints.safe_paths import check_inside
from editor.checkpoints.safetensors_header import TensorSpan, read_layout
from editor.errors import CheckpointError, PublishingError
from editor.io.atomic import open_atomic
from editor.io.digests import file_digest, stream_digest
from editor.publishing.delta import BaseFile, DeltaHeader, ReplacedTensor, delta_key, open_delta, path_in_model
from editor.publishing.overlay import (
    BytesCallback,
    base_path,
    no_progress,
    plan_segments,
    read_chunks,
    write_segments,
)
from editor.publishing.sidecar_files import write_sidecar_files


@dataclass(frozen=True)
class FileMatch:
    """A file of the base model, and the tensors of the delta that go into it."""

    name: str
    """The file's path inside the model."""
    base: Path
    sha256: str | None = None
    """The sha256 of the file that was edited, if known."""
    originals: dict[str, ReplacedTensor] = field(default_factory=dict)
    """The tensors to replace, by their names in the file."""
    keys: dict[str, str] = field(default_factory=dict)
    """The same names -> the names of the edited tensors in the delta."""


@dataclass(frozen=True)
class Patch:
    """A base file, and the segments that make up the edited file."""

    name: str
    """The file's path inside the model."""
    base: Path
    segments: tuple[Segment, ...]

    @property
    def size(self) -> int:
        """The size of the edited file in bytes."""
        return sum(segment.size for segment in self.segments)


def apply_delta(model: Path, delta: Path, out: Path, *, verify_file: bool = False) -> list[Path]:
    """Write the edited files from the base model and a delta; all of them or none.

    Args:
        model: a model folder, or a single-file checkpoint.
        delta: the delta file.
        out: for a model folder, the folder for the edited files and their sidecar files (``config.json``); for a
            single-file checkpoint, the edited file or an existing folder for it.
        verify_file: see :func:`patches`.

    Returns:
        The edited files.

    Raises:
        PublishingError: the delta is invalid or belongs to another model, or ``out`` is the base model. Nothing is written.
    """
    return write_patches(plan_patches(model, delta, verify_file=verify_file), model, delta, out)


def plan_patches(model: Path, delta: Path, *, verify_file: bool = False) -> list[Patch]:
    """Check that a delta belongs to a model, and plan the edited files.

    Args:
        model: a model folder, or a single-file checkpoint.
        delta: the delta file.
        verify_file: hash the whole base files, not only the replaced tensors.

    Raises:
        PublishingError: the delta is invalid or belongs to another model.
    """
    header, spans = open_delta(delta)
    return [plan_patch(match, spans, verify_file=verify_file) for match in match_files(model, header)]


def plan_patch(match: FileMatch, spans: Mapping[str, TensorSpan], *, verify_file: bool) -> Patch:
    """Check one file and plan its edited version. Raises PublishingError: it is not the file that was edited."""
    segments = plan_segments(match.base, {stored: spans[name] for stored, name in match.keys.items()})
    check_originals(match.base, match.originals)
    if verify_file:
        check_file(match.base, match.sha256)
    return Patch(match.name, match.base, segments)


def match_files(model: Path, header: DeltaHeader) -> list[FileMatch]:
    """Find the file of each tensor of the delta, by file name or else by canonical tensor name.

    Raises:
        PublishingError: the model lacks one of the tensors.
    """
    try:
        matches = [match_by_name(model, name, file) for name, file in header.files.items()]
        if all(has_tensors(match) for match in matches) and len({match.base for match in matches}) == len(matches):
            return matches
        return match_by_tensor(model, header)
    except CheckpointError as error:
        raise PublishingError(
            f"{model} lacks tensors that the edit replaces: {error.message}",
            field="model",
            remedy="Use the base model that was edited.",
        ) from error


def match_by_name(model: Path, name: str, file: BaseFile) -> FileMatch:
    """Match a file by its name. Raises CheckpointError: it is a link out of the model folder."""
    base = check_inside(model, base_path(model, name))
    return FileMatch(
        name, base, file.sha256, file.tensors, {stored: delta_key(name, stored) for stored in file.tensors}
    )


def has_tensors(match: FileMatch) -> bool:
    """Whether the file exists and has the tensors to replace. Raises CheckpointError: it is damaged."""
    return match.base.is_file() and match.originals.keys() <= read_layout(match.base).spans.keys()


def match_by_tensor(model: Path, header: DeltaHeader) -> list[FileMatch]:
    """Find the tensors in a model of another layout. Raises CheckpointError: it lacks one of them."""
    checkpoint, matches = open_checkpoint(model), dict[Path, FileMatch]()
    for name, file in header.files.items():
        for stored, original in file.tensors.items():
            owner = checkpoint.component(original.component)
            base, place = owner.file_of(original.name), owner.stored_name(original.name)
            match = matches.setdefault(base, FileMatch(path_in_model(model, base), base))
            match.originals[place], match.keys[place] = original, delta_key(name, stored)
    return list(matches.values())


def check_originals(base: Path, originals: Mapping[str, ReplacedTensor]) -> None:
    """Raise PublishingError unless the tensors to replace are the ones that were edited."""
    places = read_layout(base).spans
    with base.open("rb") as source:
        for name, original in originals.items():
            if stream_digest(read_chunks(source, places[name].start, places[name].end)) != original.sha256:
                raise wrong_base(base, f"{name} must have sha256 {original.sha256}")


def check_file(base: Path, digest: str | None) -> None:
    """Raise PublishingError unless the whole file is the one that was edited. Reports the share that was read."""
    if digest is None:
        raise PublishingError(
            "The delta does not record a digest of the whole base file.",
            remedy="Leave out --verify-file; the replaced tensors are checked in any case.",
        )
    if file_digest(base, report=True) != digest:
        raise wrong_base(base, f"the file must have sha256 {digest}")


def wrong_base(base: Path, why: str) -> PublishingError:
    """Return the error for a base file that is not the one that was edited."""
    return PublishingError(
        f"{base} is not the file that was edited: {why}.",
        field="model",
        remedy="Use exactly the base model that was edited, not another version, precision or edit of it.",
    )


def write_patches(
    plan: Sequence[Patch], model: Path, delta: Path, out: Path, advance: BytesCallback = no_progress
) -> list[Path]:
    """Write planned patches; see :func:`apply_delta`. ``advance`` is called with the number of bytes just written."""
    targets = [output_path(model, patch, out) for patch in plan]
    with ExitStack() as stack:
        for patch, target in zip(plan, targets, strict=True):
            write_segments(patch.segments, patch.base, delta, stack.enter_context(open_atomic(target)), advance)
        if model.is_dir():
            write_sidecar_files(model, [patch.name for patch in plan], out)
    return targets


def output_path(model: Path, patch: Patch, out: Path) -> Path:
    """Return the path of an edited file. Raises PublishingError: it is the base file."""
    target = out / patch.name if model.is_dir() else out / model.name if out.is_dir() else out
    if target.exists() and target.samefile(patch.base):
        raise PublishingError(
            f"{target} is the base file itself.",
            field="out",
            remedy="Write to another path; the base file is needed to undo the edit.",
        )
    return target


@dataclass(frozen=True)
class PublishedTensor:
    """An edited tensor as a delta publishes it, for a pipeline; see `editor.checkpoints.tensor_update.EditedTensor`."""

    component: str
    name: str
    edited: Tensor


def read_edited_tensors(model: Path, delta: Path) -> list[PublishedTensor]:
    """Check that a delta belongs to a model, and return its edited tensors. Raises PublishingError, as `plan_patches`."""
    header, _ = open_delta(delta)
    for match in match_files(model, header):
        check_originals(match.base, match.originals)
    edited = load_file(delta)
    return [
        PublishedTensor(original.component, original.name, edited[delta_key(name, stored)])
        for name, file in header.files.items()
        for stored, original in file.tensors.items()
    ]
