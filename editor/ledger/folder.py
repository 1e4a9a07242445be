"""A ledger on disk, and what it remembers between solves: ``ledger.json`` is the truth, all else can be made again."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fcntl import LOCK_EX, flock
from pathlib import Path

from pydantic import ValidationError

from api_schemas.edits import EditRequest
from editor.checkpoints import Checkpoint, TextEncoder
from editor.checkpoints.encoder import NEEDED
from editor.errors import LedgerError
from editor.ledger.conflicts import refuse_conflicts
from editor.ledger.entry import Entry
from editor.ledger.ledger import Ledger
from editor.prompts import open_books
from editor.publishing.atomic import write_bytes
from editor.quickfix.edit import Edit, edit
from editor.quickfix.memory import FolderMemory
from editor.requests import resolved

LEDGER = "ledger.json"


def base_of(encoder: TextEncoder) -> str:
    """Digest of everything that a first-layer edit is computed from."""
    return encoder.digest(NEEDED)


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
            return Ledger.model_validate_json(self.file.read_bytes())
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
        base = {encoder.component: base_of(encoder) for encoder in checkpoint.encoders}
        if not self.file.exists():
            return Ledger(base=base)
        ledger = self.read()
        if ledger.base != base:
            raise LedgerError(
                f"The ledger in {self.path} belongs to another base model than {checkpoint.path}.",
                field="ledger",
                remedy="Rebase it (editor.ledger.rebase), or use a folder of its own for each base model.",
            )
        return ledger

    def with_request(self, checkpoint: Checkpoint, request: EditRequest) -> Ledger:
        """The ledger with a request's removals added; nothing is written.

        Raises:
            LedgerConflict: they contradict what is active.
        """
        entries = [Entry(removal=removal, options=request.options) for removal in request.removals]
        ledger = self.read_for(checkpoint).add(entries)
        refuse_conflicts(ledger, checkpoint.encoders[0].tokenizer())
        return ledger

    def commit(self, ledger: Ledger, checkpoint: Checkpoint, request: EditRequest) -> None:
        """Make the truth what :meth:`with_request` gave, if it still gives that.

        Raises:
            LedgerError: somebody else changed the ledger meanwhile.
        """
        with self.locked():
            if self.with_request(checkpoint, request).digest != ledger.digest:
                raise LedgerError(
                    f"The ledger in {self.path} was changed meanwhile.",
                    field="ledger",
                    remedy="Run the same command again.",
                )
            self.write(ledger)

    def write(self, ledger: Ledger) -> None:
        """Make it the truth."""
        write_bytes(self.file, ledger.model_dump_json(indent=1).encode())

    def solve(self, ledger: Ledger, checkpoint: Checkpoint) -> list[Edit]:
        """The updates of every text encoder for all active removals; none for an empty ledger."""
        if not ledger.active:
            return []
        memory = FolderMemory(self.path)
        done = []
        for encoder, book in zip(checkpoint.encoders, open_books(checkpoint), strict=True):
            # Each by itself: what one covers must not depend on who else is in the ledger.
            removals = [resolved(entry.removal, book, [entry.removal]) for entry in ledger.by_digest.values()]
            done += edit(encoder, book, removals, ledger.method, memory)
        return done
