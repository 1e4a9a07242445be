"""A ledger on disk, and what it remembers between solves: ``ledger.json`` is the truth, all else can be made again."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fcntl import LOCK_EX, flock
from functools import lru_cache
from pathlib import Path

from pydantic import ValidationError

from api_schemas.conflicts import Conflict
from editor.checkpoints import Checkpoint
from editor.checkpoints.tokenizers import open_tokenizer
from editor.errors import LedgerError
from editor.io.atomic import write_bytes
from editor.ledger.conflict_checks import refuse_conflicts, touching
from editor.ledger.entry import Entry
from editor.ledger.ledger import Ledger
from editor.methods.default import Edit, edit
from editor.prompts import PromptBook, Removal, open_books
from editor.prompts.resolve_request import resolved
from editor.solver.tensor_cache import FolderMemory

LEDGER, DELTA = "ledger.json", "delta.safetensors"


def base_of(checkpoint: Checkpoint) -> dict[str, str]:
    """Text encoder -> digest of everything that its edit is computed from."""
    return {encoder.component: encoder.needed_digest for encoder in checkpoint.encoders}


@lru_cache(maxsize=4)
def parsed(content: bytes) -> Ledger:
    """A ledger from its file. One command reads the same one several times, and ten thousand removals take a while."""
    return Ledger.model_validate_json(content)


@dataclass(frozen=True)
class LedgerFolder:
    """The ledger of one base model."""

    path: Path

    @property
    def file(self) -> Path:
        """The ledger itself."""
        return self.path / LEDGER

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else changes it meanwhile; the lock dies with the process."""
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / ".lock").open("w") as lock:
            flock(lock, LOCK_EX)
            yield

    def read(self) -> Ledger:
        """The ledger as it stands.

        Raises:
            LedgerError: there is none, or the file is damaged.
        """
        try:
            return parsed(self.file.read_bytes())
        except FileNotFoundError:
            raise LedgerError(
                f"{self.path} holds no ledger.", field="ledger", remedy="Name the right folder."
            ) from None
        except ValidationError as error:
            raise LedgerError(
                f"{self.file} is not a ledger: {error}.", field="ledger", remedy="Restore it from a backup."
            ) from error

    def read_for(self, checkpoint: Checkpoint) -> Ledger:
        """The ledger as it stands, or a new one, for a base model.

        Raises:
            LedgerError: it belongs to another one.
        """
        base = base_of(checkpoint)
        if not self.file.exists():
            return Ledger(base=base)
        ledger = self.read()
        if ledger.base != base:
            raise LedgerError(
                f"The ledger in {self.path} belongs to another base model than {checkpoint.path}.",
                field="ledger",
                remedy="Name its own base model, carry it over with `expunge rebase`, or use another folder.",
            )
        return ledger

    def with_entries(self, checkpoint: Checkpoint, entries: Sequence[Entry]) -> tuple[Ledger, list[Conflict]]:
        """The ledger with more removals, and the warnings that concern them; nothing is written.

        Raises:
            LedgerConflict: they contradict what is active.
        """
        ledger = self.read_for(checkpoint).add(entries)
        warnings = refuse_conflicts(ledger, open_tokenizer(checkpoint.encoders[0]))
        return ledger, touching(warnings, entries)

    @contextmanager
    def committing(
        self, checkpoint: Checkpoint, change: Callable[[Ledger], Ledger], solved: Ledger, delta: Path | None
    ) -> Iterator[None]:
        """Deliver what was solved inside of the block; when that ends well, the ledger says so.

        Args:
            change: what was done to the ledger.
            solved: what that gave.
            delta: its weights, to be kept beside it; None for an empty ledger.

        Raises:
            LedgerError: somebody else changed the ledger meanwhile. Nothing is delivered then.
        """
        with self.locked():
            ledger = change(self.read_for(checkpoint))
            if ledger.digest != solved.digest:
                raise LedgerError(
                    f"The ledger in {self.path} was changed meanwhile.",
                    field="ledger",
                    remedy="Run the same command again.",
                )
            yield
            self.keep_delta(delta)
            self.write(ledger)

    @property
    def delta(self) -> Path:
        """The weights that were delivered last. Its header has the digest of the ledger that they are of."""
        return self.path / DELTA

    def keep_delta(self, delta: Path | None) -> None:
        """In place of the last one."""
        if delta:
            write_bytes(self.delta, delta.read_bytes())
        else:
            self.delta.unlink(missing_ok=True)

    def write(self, ledger: Ledger) -> None:
        """Make it the truth."""
        write_bytes(self.file, ledger.model_dump_json(indent=1).encode())

    def solve(self, ledger: Ledger, checkpoint: Checkpoint, about: Sequence[Entry] = ()) -> list[Edit]:
        """The updates of every text encoder for all active removals; none for an empty ledger.

        Args:
            about: whose feasibility is told; without any, that of some.
        """
        if not ledger.active:
            return []
        memory = FolderMemory(self.path)
        done = []
        for encoder, book in zip(checkpoint.encoders, open_books(checkpoint), strict=True):
            removals = alone(ledger.by_digest.values(), book)
            done += edit(encoder, book, removals, ledger.method, memory, alone(about, book))
        return done


def alone(entries: Iterable[Entry], book: PromptBook) -> list[Removal]:
    """Each resolved by itself: what one covers must not depend on who else is in the ledger."""
    return [resolved(entry.removal, book, [entry.removal]) for entry in entries]


def all_removed(
    removals: Sequence[Removal], entries: Sequence[Entry], ledger: Ledger | None, book: PromptBook
) -> list[Removal]:
    """What the weights no longer draw: a request's removals, which are ``entries`` there, and all else that is active.

    What others asked to preserve is left out: it is theirs to test, and not to be named to anybody else.
    """
    own = {entry.digest for entry in entries}
    others = [entry for digest, entry in ledger.by_digest.items() if digest not in own] if ledger else []
    return [*removals, *(replace(other, preserve=()) for other in alone(others, book))]
