"""A job that withholds names, from the request to the published folder, and a job with an unusable key."""

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pypdf import PdfReader

from api_schemas.edits import EditOptions, EditRequest, Removal
from api_schemas.ledgers import LedgerSnapshot, SnapshotRemoval
from editor import jobs
from editor.checkpoints import open_checkpoint
from editor.emoji import WEIGHTS
from editor.errors import SigningError
from editor.jobs import revocation
from editor.jobs.ledger_rebase import Rebase
from editor.jobs.ledger_release import Release, revoke
from editor.ledger import LedgerEntry, LedgerFolder
from editor.ledger.snapshot import write_snapshot
from editor.publishing.attestation.keys import KeyFolder
from editor.publishing.attestation.verification_case import VerificationCase
from editor.publishing.attestation.verify import verify
from editor.publishing.export import deliver
from editor.publishing.redaction import PrivateReport

NOW = datetime(2026, 1, 1, tzinfo=UTC)
REQUEST = {
    "removals": [{"concept": "hot dog", "replacement": "pizza", "aliases": ["frankfurter"]}],
    "validation": {"enabled": False},
    "metadata": {"ticket": "the hot dog case"},
    "withhold_names": True,
}


@pytest.fixture
def context(tmp_path: Path) -> jobs.JobContext:
    keys = KeyFolder(tmp_path / "signing")
    keys.create(NOW)
    return jobs.JobContext(
        request=EditRequest.model_validate(REQUEST),
        model_dir=WEIGHTS,
        workdir=tmp_path / "work",
        cache_dir=tmp_path / "cache",
        progress=lambda phase, done, message: None,
        job_id="edit_1",
        now=NOW,
        signing_dir=keys.root,
    )


def test_redacted_job_withholds_all_names_and_is_reproducible(context: jobs.JobContext, tmp_path: Path) -> None:
    for phase in jobs.PHASES:
        jobs.run_phase(phase, context)
    first = {path: path.read_bytes() for path in context.out.rglob("*") if path.is_file()}
    (context.out / "report.json").unlink()
    jobs.run_phase("publish", context)
    assert {path: path.read_bytes() for path in context.out.rglob("*") if path.is_file()} == first
    jobs.EraseJob(context).deliver(tmp_path / "delivered")
    for path in (tmp_path / "delivered").rglob("*"):
        if path.is_file() and "private" not in path.name:
            assert not [
                name for name in (b"hot dog", b"frankfurter", b"hotdog") if name in path.read_bytes().lower()
            ], path
    private = PrivateReport.model_validate_json((tmp_path / "delivered" / "report.private.json").read_bytes())
    assert private.report.removals[0].concept == "hot dog"
    assert private.report.canaries
    found = verify(VerificationCase(tmp_path / "delivered", KeyFolder(tmp_path / "signing").public(), WEIGHTS))
    assert found.ok, [one for one in found.findings if one.outcome == "failed"]


CANARY = Removal(concept="quillwort weiß", replacement="pizza", aliases=["frankfurter"])
CANARY_SPELLINGS = ("quillwort", "weiß", "weiss", "frankfurter", "\\u00df")


def readable_text(path: Path) -> str:
    """Return a file's bytes as text, with the text of its pages and the statements in its envelopes."""
    texts = [path.read_bytes().decode("utf-8", "replace")]
    if path.suffix == ".pdf":
        texts += [page.extract_text() for page in PdfReader(path).pages]
    if path.suffix == ".jsonl":
        texts += [base64.b64decode(json.loads(line)["payload"]).decode() for line in path.read_text().splitlines()]
    return " ".join(texts).casefold()


def assert_unnamed(folder: Path, *digests: str) -> None:
    """Check every public file: its name, its bytes, its metadata, and the text of its pages."""
    public = [path for path in folder.rglob("*") if path.is_file() and "private" not in path.name]
    assert len(public) >= 3
    for path in public:
        text = f"{path.relative_to(folder).as_posix()} {readable_text(path)}"
        assert not [name for name in (*CANARY_SPELLINGS, *digests) if name in text], path


def test_withheld_name_leaves_in_no_file_of_a_job_its_revocation_and_a_rebase(
    context: jobs.JobContext, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The ledger holds another removal too, so each step publishes weights."""
    folder, checkpoint = LedgerFolder(tmp_path / "ledger"), open_checkpoint(WEIGHTS)
    other = LedgerEntry(removal=Removal(concept="fox", replacement="dog face"), withhold_name=False)
    folder.path.mkdir()
    folder.write(folder.read_for(checkpoint).add([other]))
    request = EditRequest.model_validate(REQUEST | {"removals": [CANARY.model_dump()], "ledger": True})
    job = jobs.EraseJob(replace(context, request=request, ledger=folder.path))
    job.publish()
    job.deliver(tmp_path / "erased")
    guessable = [folder.read().digest, folder.read().active[1].digest]
    assert_unnamed(tmp_path / "erased", *guessable)
    signer = KeyFolder(tmp_path / "signing").signer(NOW)
    Rebase(folder, Release("emoji", checkpoint, tmp_path / "rebased", NOW, signer=signer)).run(None)
    (tmp_path / "rebased" / "ledger").rename(tmp_path / "new-ledger")
    assert_unnamed(tmp_path / "rebased", *guessable)
    revoke(folder, [CANARY.concept], Release("emoji", checkpoint, tmp_path / "revoked", NOW, signer=signer))
    assert_unnamed(tmp_path / "revoked", *guessable)
    private = PrivateReport.model_validate_json((tmp_path / "revoked" / "report.private.json").read_bytes())
    assert private.report.ledger is not None
    assert private.report.ledger.taken_back == [CANARY.concept]
    assert not [name for name in CANARY_SPELLINGS if name in caplog.text.casefold()]


@pytest.mark.parametrize("active", [[], [Removal(concept="fox", replacement="dog face")]], ids=["nothing", "something"])
def test_withheld_name_leaves_in_no_file_of_a_revocation_job(
    context: jobs.JobContext, tmp_path: Path, active: list[Removal]
) -> None:
    def removals(*named: Removal, withhold: bool) -> list[SnapshotRemoval]:
        return [
            SnapshotRemoval(removal=one, options=EditOptions(), label="edit_1", since=NOW, withhold_name=withhold)
            for one in named
        ]

    snapshot = LedgerSnapshot(active=removals(*active, withhold=False), revoked=removals(CANARY, withhold=True))
    request = EditRequest.model_validate(REQUEST | {"removals": [CANARY.model_dump()]})
    ours = replace(context, request=request, ledger=write_snapshot(tmp_path / "ledger", WEIGHTS, snapshot))
    for phase in revocation.PHASES:
        revocation.run_phase(phase, ours)
    deliver(ours.out, WEIGHTS, tmp_path / "out")
    assert_unnamed(tmp_path / "out")
    assert verify(VerificationCase(tmp_path / "out", KeyFolder(tmp_path / "signing").public(), WEIGHTS)).ok
    kinds = {file.name: file.kind for file in revocation.artifacts(ours)}
    assert kinds["report.private.json"] == "private"


def test_signing_key_readable_by_others_fails_the_job_at_its_start(context: jobs.JobContext) -> None:
    assert context.signing_dir
    for path in context.signing_dir.glob("*.pem"):
        path.chmod(0o644)
    with pytest.raises(SigningError, match="read by others"):
        jobs.run_phase("trace", context)
    assert not jobs.finished("trace", context)
