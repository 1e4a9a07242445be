"""A job that withholds names, from the request to the published folder, and a job with an unusable key."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from api_schemas.edits import EditRequest
from editor import jobs
from editor.emoji import WEIGHTS
from editor.errors import SigningError
from editor.publishing.attestation.keys import KeyFolder
from editor.publishing.attestation.verification_case import VerificationCase
from editor.publishing.attestation.verify import verify
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


def test_signing_key_readable_by_others_fails_the_job_at_its_start(context: jobs.JobContext) -> None:
    assert context.signing_dir
    for path in context.signing_dir.glob("*.pem"):
        path.chmod(0o644)
    with pytest.raises(SigningError, match="read by others"):
        jobs.run_phase("trace", context)
    assert not jobs.finished("trace", context)
