"""Benchmark of a ledger with a thousand removals: add one and revoke one, against solving all of them from scratch.

The text encoder has CLIP-L's width and vocabulary, random weights and one layer, because only the first layer matters. Each
step is complete: read ledger and base model, find conflicts, solve, write the delta, commit.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice, product
from pathlib import Path

from api_schemas.edits import Removal
from editor.bench.edit import resident_memory
from editor.bench.outcome import BenchmarkResult, at_most, summarize, time_seconds
from editor.bench.synthetic_checkpoints import write_folder
from editor.checkpoints import Checkpoint, open_checkpoint
from editor.ledger import Ledger, LedgerEntry, LedgerFolder
from editor.publishing.delta import write_delta

REMOVALS, FEWER_REMOVALS, REPEATS = 1_000, 100, 5
MAX_SCRATCH_SECONDS, MAX_STEP_SECONDS, MAX_MEMORY_MB, MAX_GROWTH = 60.0, 1.0, 2_000.0, 1.5
TIMESTAMP = datetime(2026, 1, 1, tzinfo=UTC)
COLOURS = ("red", "green", "blue", "yellow", "black", "white", "brown", "purple", "orange", "golden", "silver", "pink")
MATERIALS = (
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
class BenchmarkedLedger:
    """A model with its ledger, as the benchmark changes it."""

    model: Path
    folder: LedgerFolder

    @property
    def delta(self) -> Path:
        """Path of the delta."""
        return self.folder.path.with_suffix(".delta.safetensors")

    def apply_change(
        self, checkpoint: Checkpoint, change: Callable[[Ledger], Ledger], report_on: Sequence[LedgerEntry] = ()
    ) -> None:
        """Apply one change from file to file, and report the feasibility of the removals in ``report_on``."""
        ledger = change(self.folder.read_for(checkpoint))
        edits = self.folder.solve(ledger, checkpoint, report_on or ledger.active[:1])
        write_delta(
            [update for done in edits for update in done.updates], self.model, self.delta, request=ledger.digest
        )
        with self.folder.transaction(checkpoint, change, ledger, self.delta):
            pass

    def add_removals(self, *entries: LedgerEntry) -> None:
        """Add removals, with all checks of a request."""
        checkpoint = open_checkpoint(self.model)
        self.folder.preview_add(checkpoint, entries)
        self.apply_change(checkpoint, lambda ledger: ledger.add(entries), entries[-1:])

    def revoke(self, entry: LedgerEntry) -> None:
        """Revoke one removal."""
        self.apply_change(open_checkpoint(self.model), lambda ledger: ledger.revoke([entry.digest], TIMESTAMP))


def run() -> BenchmarkResult:
    """Run the benchmark."""
    entries = list(islice(generate_entries(), REMOVALS + 1))
    with tempfile.TemporaryDirectory() as name:
        write_folder(Path(name), layers=1)
        large, small = (
            BenchmarkedLedger(Path(name), LedgerFolder(Path(name) / str(count))) for count in (REMOVALS, FEWER_REMOVALS)
        )
        small.add_removals(*entries[:FEWER_REMOVALS])
        reset_peak_memory()
        from_scratch = time_seconds(lambda: large.add_removals(*entries))
        memory = resident_memory("VmHWM")
        revoking, adding, adding_to_fewer = [], [], []
        for _ in range(REPEATS):
            revoking.append(time_seconds(lambda: large.revoke(entries[REMOVALS])))
            adding.append(time_seconds(lambda: large.add_removals(entries[REMOVALS])))
            adding_to_fewer.append(time_seconds(lambda: small.add_removals(entries[REMOVALS])))
            small.revoke(entries[REMOVALS])
    ours, peer = summarize(adding, "s"), summarize([from_scratch], "s")
    bounds = [
        at_most(f"a ledger of {REMOVALS + 1} removals solved from scratch, s", from_scratch, MAX_SCRATCH_SECONDS),
        at_most("peak memory, imports included, MB", memory, MAX_MEMORY_MB),
        at_most(f"adding one to {REMOVALS}, s", ours.median, MAX_STEP_SECONDS),
        at_most(f"revoking one of {REMOVALS + 1}, s", summarize(revoking, "s").median, MAX_STEP_SECONDS),
        at_most(
            f"adding one to {REMOVALS} over adding one to {FEWER_REMOVALS}",
            ours.median / summarize(adding_to_fewer, "s").median,
            MAX_GROWTH,
        ),
    ]
    return BenchmarkResult(
        name="ledger", ours=ours, peer=peer, ratio=summarize([from_scratch / one for one in adding], "x"), bounds=bounds
    )


def generate_entries() -> Iterator[LedgerEntry]:
    """Yield ten thousand removals with distinct names."""
    for material, colour, thing in product(MATERIALS, COLOURS, THINGS):
        yield LedgerEntry(
            removal=Removal(concept=f"{colour} {material} {thing}", replacement=DESTINATION, spellings=[]),
            since=TIMESTAMP,
        )


def reset_peak_memory() -> None:
    """Reset the peak of resident memory."""
    Path("/proc/self/clear_refs").write_text("5")
