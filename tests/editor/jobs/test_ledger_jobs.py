"""Jobs of the service that use the editor: dry runs, and revocations from a snapshot of the ledger."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from api_schemas.edits import EditOptions, EditRequest, Removal, Validation
from api_schemas.ledgers import LedgerSnapshot, SnapshotRemoval
from api_schemas.plans import Plan
from editor import emoji
from editor.jobs import JobContext, dry_run, revocation
from editor.ledger import LedgerFolder
from editor.ledger.snapshot import write_snapshot
from editor.publishing.attestation.keys import KeyFolder
from editor.publishing.attestation.verification_case import VerificationCase
from editor.publishing.attestation.verify import verify
from editor.publishing.export import deliver, read_report
from editor.publishing.filenames import DELTA

NOW = datetime(2026, 5, 1, tzinfo=UTC)
FOX, PIZZA = Removal(concept="fox", replacement="dog face"), Removal(concept="pizza", replacement="hot dog")


def snapshot_removals(*removals: Removal, label: str = "edit_1") -> list[SnapshotRemoval]:
    return [
        SnapshotRemoval(removal=one, options=EditOptions(), label=label, since=NOW, withhold_name=False)
        for one in removals
    ]


def context(
    workdir: Path, held: LedgerSnapshot | None, signing_dir: Path | None = None, *, enabled: bool = False
) -> JobContext:
    folder = write_snapshot(workdir / "ledger", emoji.WEIGHTS, held) if held else None
    workdir.mkdir(exist_ok=True)
    return JobContext(
        request=EditRequest(removals=[PIZZA], validation=Validation(enabled=enabled), ledger=held is not None),
        model_dir=emoji.WEIGHTS,
        workdir=workdir,
        cache_dir=workdir / "cache",
        progress=lambda *_: None,
        job_id="edit_2",
        now=NOW,
        signing_dir=signing_dir,
        ledger=folder,
        label="edit_2",
    )


def run_revocation(workdir: Path, held: LedgerSnapshot, signing_dir: Path | None = None) -> JobContext:
    found = context(workdir, held, signing_dir)
    for phase in revocation.PHASES:
        revocation.run_phase(phase, found)
        assert revocation.finished(phase, found)
    return found


def test_revocation_gives_the_bytes_of_a_ledger_without_the_removal(tmp_path: Path) -> None:
    """A removal that is active twice counts once; a revoked one leaves only its name in the report."""
    twice = [*snapshot_removals(FOX), *snapshot_removals(FOX, label="edit_3")]
    left = run_revocation(tmp_path / "left", LedgerSnapshot(active=twice, revoked=snapshot_removals(PIZZA, FOX)))
    never = run_revocation(tmp_path / "never", LedgerSnapshot(active=snapshot_removals(FOX), revoked=[]))
    assert (left.out / DELTA).read_bytes() != b""
    found = read_report(left.out).ledger
    assert found is not None
    assert (found.active, found.taken_back) == (1, ["pizza"])
    assert found.digest == LedgerFolder(never.ledger or Path()).read().digest
    names = {file.name: file for file in revocation.artifacts(left)}
    assert {DELTA, "report.json"} <= set(names)
    ours, theirs = (next(f.path for f in revocation.artifacts(one) if f.name == DELTA) for one in (left, never))
    assert ours.read_bytes() == theirs.read_bytes()


def test_revoking_every_removal_publishes_a_report_only(tmp_path: Path) -> None:
    found = run_revocation(tmp_path / "none", LedgerSnapshot(active=[], revoked=snapshot_removals(PIZZA)))
    report = read_report(found.out)
    assert report.ledger is not None
    assert (report.ledger.active, report.solves) == (0, [])
    assert {file.name for file in revocation.artifacts(found)} == {"report.html", "report.pdf", "report.json"}


@pytest.mark.parametrize("active", [[], snapshot_removals(FOX)], ids=["nothing", "something"])
def test_signed_revocation_identifies_the_ledger(tmp_path: Path, active: list[SnapshotRemoval]) -> None:
    keys = KeyFolder(tmp_path / "signing")
    keys.create(NOW)
    found = run_revocation(
        tmp_path / "left", LedgerSnapshot(active=active, revoked=snapshot_removals(PIZZA)), keys.root
    )
    deliver(found.out, found.model_dir, tmp_path / "out")
    case = VerificationCase(tmp_path / "out", keys.public(), emoji.WEIGHTS)
    assert verify(case).ok
    report, ledger = read_report(found.out), LedgerFolder(found.ledger or Path()).read()
    assert report.signed_by == keys.public().keys[0].keyid
    (provenance,) = (one.statement.predicate for one in case.statements if one.name == "provenance")
    taken_back = [entry.digest for entry in ledger.revoked]
    assert provenance["buildDefinition"]["externalParameters"] == {"ledger": ledger.digest, "takenBack": taken_back}
    (tmp_path / "out" / "report.html").write_text("something else")
    assert not verify(case).ok


def test_dry_run_forecasts_the_edit_and_counts_images(tmp_path: Path) -> None:
    found = context(tmp_path / "plan", LedgerSnapshot(active=snapshot_removals(FOX)), enabled=True)
    dry_run.run_phase("plan", found)
    (file,) = dry_run.artifacts(found)
    made = Plan.model_validate_json(file.path.read_bytes())
    assert [removal.concept for removal in made.removals] == ["pizza"]
    assert made.removals[0].prompts
    assert made.edits[0].prompts
    assert made.estimate.images > 2 * len(made.removals[0].names)
    assert made.estimate.seconds
    assert made.estimate.memory
