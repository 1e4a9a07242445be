"""A ledger of a thousand removals: adding one and revoking one, against solving all from nothing.

A text encoder of CLIP-L's width and vocabulary with random weights; of its layers the first alone matters. Each step is the
whole of it: read ledger and base model, find conflicts, solve, write the delta, commit.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice, product
from pathlib import Path

from api_schemas.edits import Removal
from editor.bench.edit import resident
from editor.bench.outcome import Outcome, at_most, measure, seconds
from editor.bench.synthetic_checkpoints import write_folder
from editor.checkpoints import Checkpoint, open_checkpoint
from editor.ledger import Ledger, LedgerEntry, LedgerFolder
from editor.publishing.delta import write_delta

COUNT, FEWER, REPEATS = 1_000, 100, 5
FROM_NOTHING, STEP, MEMORY, GROWTH = 60.0, 1.0, 2_000.0, 1.5
MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
COLOURS = ("red", "green", "blue", "yellow", "black", "white", "brown", "purple", "orange", "golden", "silver", "pink")
MATTERS = (
    "wooden", "stone", "glass", "paper", "iron", "velvet", "plastic", "rusty", "ancient", "tiny", "giant", "broken",
    "frozen", "hollow", "striped", "painted", "carved", "folded", "floating", "glowing", "muddy", "gilded",
)  # fmt: skip
THINGS = (
    "robot", "teapot", "violin", "lantern", "dragon", "pumpkin", "wizard", "anchor", "compass", "kettle", "puppet", "ladder",
    "barrel", "helmet", "candle", "basket", "wagon", "trumpet", "pillow", "balloon", "hammer", "mirror", "bucket", "feather",
    "windmill", "scarecrow", "gargoyle", "telescope", "carousel", "submarine", "typewriter", "snowman", "cactus", "walrus",
    "peacock", "lobster", "hedgehog", "flamingo", "crocodile", "octopus",
)  # fmt: skip
DESTINATION = "statue"


@dataclass(frozen=True)
class Bench:
    """A model, and a ledger of it."""

    model: Path
    folder: LedgerFolder

    @property
    def delta(self) -> Path:
        """What is written."""
        return self.folder.path.with_suffix(".delta.safetensors")

    def step(
        self, checkpoint: Checkpoint, change: Callable[[Ledger], Ledger], about: Sequence[LedgerEntry] = ()
    ) -> None:
        """One change from file to file; it is told how far the removals that it is about go."""
        ledger = change(self.folder.read_for(checkpoint))
        edits = self.folder.solve(ledger, checkpoint, about or ledger.active[:1])
        write_delta([done.update for done in edits], self.model, self.delta, request=ledger.digest)
        with self.folder.transaction(checkpoint, change, ledger, self.delta):
            pass

    def add(self, *entries: LedgerEntry) -> None:
        """Some removals more, with all that a request is checked for."""
        checkpoint = open_checkpoint(self.model)
        self.folder.preview_add(checkpoint, entries)
        self.step(checkpoint, lambda ledger: ledger.add(entries), entries[-1:])

    def revoke(self, entry: LedgerEntry) -> None:
        """One removal less."""
        self.step(open_checkpoint(self.model), lambda ledger: ledger.revoke([entry.digest], MOMENT))


def run() -> Outcome:
    """All figures."""
    entries = list(islice(removals(), COUNT + 1))
    with tempfile.TemporaryDirectory() as name:
        write_folder(Path(name), layers=1)
        large, small = (Bench(Path(name), LedgerFolder(Path(name) / str(count))) for count in (COUNT, FEWER))
        small.add(*entries[:FEWER])
        start_peak()
        nothing = seconds(lambda: large.add(*entries))
        memory = resident("VmHWM")
        revoking, adding, beside = [], [], []
        for _ in range(REPEATS):
            revoking.append(seconds(lambda: large.revoke(entries[COUNT])))
            adding.append(seconds(lambda: large.add(entries[COUNT])))
            beside.append(seconds(lambda: small.add(entries[COUNT])))
            small.revoke(entries[COUNT])
    ours, peer = measure(adding, "s"), measure([nothing], "s")
    bounds = [
        at_most(f"a ledger of {COUNT + 1} removals solved from nothing, s", nothing, FROM_NOTHING),
        at_most("memory meanwhile, imports included, MB", memory, MEMORY),
        at_most(f"adding one to {COUNT}, s", ours.median, STEP),
        at_most(f"revoking one of {COUNT + 1}, s", measure(revoking, "s").median, STEP),
        at_most(f"adding one to {COUNT} over adding one to {FEWER}", ours.median / measure(beside, "s").median, GROWTH),
    ]
    return Outcome(
        name="ledger", ours=ours, peer=peer, ratio=measure([nothing / one for one in adding], "x"), bounds=bounds
    )


def removals() -> Iterator[LedgerEntry]:
    """Removals of things that nobody else names, ten thousand of them."""
    for matter, colour, thing in product(MATTERS, COLOURS, THINGS):
        yield LedgerEntry(
            removal=Removal(concept=f"{colour} {matter} {thing}", replacement=DESTINATION, spellings=[]), since=MOMENT
        )


def start_peak() -> None:
    """The peak of resident memory is counted from here."""
    Path("/proc/self/clear_refs").write_text("5")
