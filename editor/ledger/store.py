"""A ledger on disk. ``ledger.json`` is authoritative; the other files in its folder are caches."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fcntl import LOCK_EX, flock
from functools import lru_cache, partial
from pathlib import Path

from pydantic import ValidationError

from api_schemas.conflicts import Conflict
from api_schemas.edits import SiteName
from editor.checkpoints import Checkpoint
from editor.checkpoints.tokenizers import open_prompt_tokenizers
from editor.errors import LedgerError
from editor.io.atomic import write_bytes
from editor.io.digests import sha256_hex
from editor.io.progress import track
from editor.ledger.conflict_checks import check_conflicts, conflicts_involving
from editor.ledger.entry import LedgerEntry
from editor.ledger.ledger import Ledger
from editor.methods.denoiser_edit import edit_denoiser
from editor.methods.encoder_edit import edit_encoder
from editor.methods.tensor_edits import Edit
from editor.prompts import Profile, PromptBuilder, ResolvedRemoval, load_profile, open_prompt_builders, pair_encoders
from editor.prompts.automatic_replacement import choose_destinations
from editor.prompts.resolve_request import resolve_removal
from editor.sites.registry import denoiser_sites
from editor.sites.stream_site import StreamSite
from editor.solver.tensor_cache import FolderCache

LEDGER_FILE, DELTA_FILE = "ledger.json", "delta.safetensors"


def base_digests(checkpoint: Checkpoint, *, denoiser: bool) -> dict[str, str]:
    """Return, for each text encoder, the digest of everything that its edit is computed from.

    Args:
        checkpoint: the base model.
        denoiser: the denoiser too. Its edit depends on all of the text encoders' weights.

    Raises:
        CheckpointError: the model has no denoiser.
    """
    digests = {encoder.component: encoder.edit_inputs_digest for encoder in checkpoint.encoders}
    if not denoiser:
        return digests
    model = checkpoint.require_denoiser()
    parts = [model.digest, *(encoder.whole_digest for encoder in checkpoint.encoders)]
    return digests | {model.component: sha256_hex("\n".join(parts))}


def identify_base(ledger: Ledger, checkpoint: Checkpoint) -> Ledger:
    """Return the ledger with the digest of the denoiser, if a removal is solved there."""
    if not ledger.edits_denoiser:
        return ledger
    return ledger.model_copy(update={"base": base_digests(checkpoint, denoiser=True)})


Solver = Callable[..., Sequence[Edit]]
"""Solves for the removals of one text encoder or of one site of the denoiser."""


@lru_cache(maxsize=4)
def parse_ledger(content: bytes) -> Ledger:
    """Parse a ledger file. Cached: one command reads it several times, and ten thousand removals take a while to parse."""
    return Ledger.model_validate_json(content)


@dataclass(frozen=True)
class LedgerFolder:
    """The ledger of one base model."""

    path: Path
    profile: Profile | None = None
    """Used instead of the model's own, for every removal of the ledger."""

    @property
    def file(self) -> Path:
        """The ledger file."""
        return self.path / LEDGER_FILE

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the ledger against changes by other processes. The lock ends with the process."""
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / ".lock").open("w") as lock_file:
            flock(lock_file, LOCK_EX)
            yield

    def read(self) -> Ledger:
        """Read the ledger.

        Raises:
            LedgerError: the file does not exist or is damaged.
        """
        try:
            return parse_ledger(self.file.read_bytes())
        except FileNotFoundError:
            raise LedgerError(
                f"{self.path} contains no ledger.", field="ledger", remedy="Name the folder of a ledger."
            ) from None
        except ValidationError as error:
            raise LedgerError(
                f"{self.file} is not a ledger: {error}.", field="ledger", remedy="Restore it from a backup."
            ) from error

    def read_for(self, checkpoint: Checkpoint) -> Ledger:
        """Read the ledger of a base model, or return an empty one if the file does not exist.

        Raises:
            LedgerError: the ledger belongs to another base model.
        """
        if not self.file.exists():
            return Ledger(base=base_digests(checkpoint, denoiser=False))
        ledger = self.read()
        if ledger.base != base_digests(checkpoint, denoiser=ledger.knows_denoiser):
            raise LedgerError(
                f"The ledger in {self.path} belongs to another base model, not to {checkpoint.path}.",
                field="ledger",
                remedy="Use its base model, move it to this one with `expunge rebase`, or use another folder.",
            )
        return ledger

    def preview_add(self, checkpoint: Checkpoint, entries: Sequence[LedgerEntry]) -> tuple[Ledger, list[Conflict]]:
        """Return the ledger with more removals, and the warnings about these. Writes nothing.

        Raises:
            LedgerConflict: an entry contradicts another removal.
        """
        ledger = identify_base(self.read_for(checkpoint).add(entries), checkpoint)
        profile = self.profile or load_profile(checkpoint.path)
        warnings = check_conflicts(ledger, open_prompt_tokenizers(checkpoint)[0], profile)
        return ledger, conflicts_involving(warnings, entries)

    @contextmanager
    def transaction(
        self, checkpoint: Checkpoint, change: Callable[[Ledger], Ledger], solved: Ledger, delta: Path | None
    ) -> Iterator[None]:
        """Publish the weights of a changed ledger in the block; the change is written when the block succeeds.

        Args:
            checkpoint: the base model.
            change: the change, applied to the ledger on disk.
            solved: the changed ledger for which the weights were computed.
            delta: the weights, a copy of which is stored with the ledger; None for an empty ledger.

        Raises:
            LedgerError: another process changed the ledger since ``solved``. The block does not run.
        """
        with self.lock():
            ledger = identify_base(change(self.read_for(checkpoint)), checkpoint)
            if ledger.digest != solved.digest:
                raise LedgerError(
                    f"The ledger in {self.path} was changed by another process.",
                    field="ledger",
                    remedy="Run the same command again.",
                )
            yield
            self.store_delta(delta)
            self.write(ledger)

    @property
    def delta(self) -> Path:
        """The weights that were published last. The header contains the digest of their ledger."""
        return self.path / DELTA_FILE

    def store_delta(self, delta: Path | None) -> None:
        """Replace the stored weights."""
        if delta:
            write_bytes(self.delta, delta.read_bytes())
        else:
            self.delta.unlink(missing_ok=True)

    def write(self, ledger: Ledger) -> None:
        """Write the ledger file."""
        write_bytes(self.file, ledger.model_dump_json(indent=1).encode())

    def solve(self, ledger: Ledger, checkpoint: Checkpoint, report_on: Sequence[LedgerEntry] = ()) -> list[Edit]:
        """Compute the updates of every text encoder and of the denoiser; none for an empty ledger.

        A removal is solved at the sites that it was requested for, together with all others there.

        Args:
            ledger: the ledger to solve; the one on disk is not read.
            checkpoint: the base model.
            report_on: removals whose feasibility is reported; if empty, a sample.

        Raises:
            SiteError: the model lacks a site that a removal names.
        """
        if not ledger.active:
            return []
        cache, builders = FolderCache(self.path), open_prompt_builders(checkpoint, self.profile)
        entries, reported = list(ledger.by_digest.values()), {entry.digest for entry in report_on}
        encoders: list[tuple[Solver, PromptBuilder]] = [
            (partial(edit_encoder, *pair), pair[1]) for pair in pair_encoders(checkpoint, builders)
        ]
        solvers = [(*one, [entry for entry in entries if entry.options.layers]) for one in encoders]
        solvers += [
            (partial(edit_denoiser, [site], builders[0]), builders[0], own)
            for site, own in entries_by_site(entries, checkpoint, builders)
        ]
        edits: list[Edit] = []
        for solver, builder, own in track([one for one in solvers if one[2]]):
            removals = resolve_each(own, builder)
            listed = [one for one, entry in zip(removals, own, strict=True) if entry.digest in reported]
            edits += solver(removals, ledger.method, cache, listed, ledger.adjustments)
        return edits


def entries_by_site(
    entries: Sequence[LedgerEntry], checkpoint: Checkpoint, builders: Sequence[PromptBuilder]
) -> list[tuple[StreamSite, list[LedgerEntry]]]:
    """Return the denoiser's sites that entries name, each with those entries. Raises SiteError: the model lacks one."""
    sites: dict[SiteName, StreamSite] = {}
    own: dict[SiteName, list[LedgerEntry]] = {}
    for entry in entries:
        for site in denoiser_sites(checkpoint, builders, entry.options):
            sites.setdefault(site.name, site)
            own.setdefault(site.name, []).append(entry)
    return [(sites[name], own[name]) for name in sorted(sites)]


def resolve_each(entries: Iterable[LedgerEntry], builder: PromptBuilder) -> list[ResolvedRemoval]:
    """Resolve each entry independently: the names that a removal covers must not depend on the rest of the ledger.

    Only the choice among its automatic replacements does.
    """
    resolved = [
        resolve_removal(entry.removal, builder, [entry.removal], entry.parameters.candidates) for entry in entries
    ]
    return choose_destinations(resolved, builder.profile)


def all_active_removals(
    removals: Sequence[ResolvedRemoval], entries: Sequence[LedgerEntry], ledger: Ledger | None, builder: PromptBuilder
) -> list[ResolvedRemoval]:
    """Return everything that the edited model should not generate: a request's removals and the other active ones.

    The names that other requests preserve are left out: they are confidential, and tested for those requests.

    Args:
        removals: the request's resolved removals.
        entries: the same removals as ledger entries.
        ledger: the ledger that they belong to, if any.
        builder: the prompt builder.
    """
    return [*removals, *(replace(other, preserve=()) for other in other_removals(entries, ledger, builder))]


def other_removals(
    entries: Sequence[LedgerEntry], ledger: Ledger | None, builder: PromptBuilder
) -> list[ResolvedRemoval]:
    """Return the active removals of a ledger that are not among ``entries``."""
    if ledger is None:
        return []
    own = {entry.requested_digest for entry in entries}
    active = list(ledger.by_digest.values())
    resolved = zip(active, resolve_each(active, builder), strict=True)
    return [removal for entry, removal in resolved if entry.requested_digest not in own]
