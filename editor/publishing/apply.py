"""Apply a delta: check that it belongs to the base, then copy base and delta into the edited files.

What is checked is the tensors that are replaced, by their digests; that costs as much for a 7 GB checkpoint as for a small
one. A base in another layout than the edit was made from (a single file for a folder, say) is as good, if it has the same
tensors: they are found by what transformers calls them.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from api_schemas.overlays import Segment
from editor.checkpoints import file_digest, open_checkpoint
from editor.checkpoints.safe_paths import inside
from editor.checkpoints.safetensors_header import Span, read_layout
from editor.errors import CheckpointError, PublishingError
from editor.io.atomic import replacing
from editor.publishing.delta import BaseFile, Binding, Original, key, name_in, read_header
from editor.publishing.overlay import Advance, chunks, digest_of, located, quietly, segments_of, write_segments
from editor.publishing.sidecar_files import write_companions


@dataclass(frozen=True)
class Fit:
    """A file of the base model, and what of the delta goes into it."""

    name: str
    """The file's path inside the model."""
    base: Path
    sha256: str | None = None
    """Of the file that the edit was made from, where that is known."""
    originals: dict[str, Original] = field(default_factory=dict)
    """The tensors to be replaced, by the file's names for them."""
    keys: dict[str, str] = field(default_factory=dict)
    """The same names -> the delta's names for the edited ones."""


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
    return [patch(fit, spans, verify_file=verify_file) for fit in fits(model, binding)]


def patch(fit: Fit, spans: Mapping[str, Span], *, verify_file: bool) -> Patch:
    """Check one file. Raises PublishingError: it is not the one that the edit was made from."""
    segments = segments_of(fit.base, {stored: spans[name] for stored, name in fit.keys.items()})
    check_originals(fit.base, fit.originals)
    if verify_file:
        check_file(fit.base, fit.sha256)
    return Patch(fit.name, fit.base, segments)


def fits(model: Path, binding: Binding) -> list[Fit]:
    """Where the delta's tensors go: by the names that they had, or by what they are. Raises PublishingError: nowhere."""
    try:
        same = [fit_of(model, name, file) for name, file in binding.files.items()]
        if all(has(fit) for fit in same) and len({fit.base for fit in same}) == len(same):
            return same
        return fits_elsewhere(model, binding)
    except CheckpointError as error:
        raise PublishingError(
            f"{model} does not have the tensors that the edit replaces: {error.message}",
            field="model",
            remedy="Use the base model that the edit was made for.",
        ) from error


def fit_of(model: Path, name: str, file: BaseFile) -> Fit:
    """In the file of that name. Raises CheckpointError: it is a link out of the model."""
    base = inside(model, located(model, name))
    return Fit(name, base, file.sha256, file.tensors, {stored: key(name, stored) for stored in file.tensors})


def has(fit: Fit) -> bool:
    """Whether the file is there and has tensors of these names. Raises CheckpointError: it is damaged."""
    return fit.base.is_file() and fit.originals.keys() <= read_layout(fit.base).spans.keys()


def fits_elsewhere(model: Path, binding: Binding) -> list[Fit]:
    """In a model of another layout. Raises CheckpointError: it does not have them either."""
    checkpoint, found = open_checkpoint(model), dict[Path, Fit]()
    for name, file in binding.files.items():
        for stored, original in file.tensors.items():
            encoder = checkpoint.encoder(original.component)
            base, place = encoder.file_of(original.name), encoder.stored_name(original.name)
            fit = found.setdefault(base, Fit(name_in(model, base), base))
            fit.originals[place], fit.keys[place] = original, key(name, stored)
    return list(found.values())


def check_originals(base: Path, originals: Mapping[str, Original]) -> None:
    """The tensors to be replaced are the ones that the edit was made from. Raises PublishingError."""
    places = read_layout(base).spans
    with base.open("rb") as source:
        for name, original in originals.items():
            if digest_of(chunks(source, places[name].start, places[name].end)) != original.sha256:
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
