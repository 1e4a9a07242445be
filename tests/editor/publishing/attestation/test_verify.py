"""What a verifier finds: nothing in what was published, and the very thing that was tampered with."""

import json
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import typer

from api_schemas.attestation import Finding, PublicKeys, Verification
from api_schemas.cli.main import NOT_PASSED, run
from api_schemas.report import AuditReport
from editor.checkpoints.tensor_update import TensorUpdate
from editor.cli.verify import verify as command
from editor.publishing.attestation.dsse import sign_statement, to_json_lines
from editor.publishing.attestation.keys import KeyFolder
from editor.publishing.attestation.statements import make_statements
from editor.publishing.attestation.verification_case import VerificationCase
from editor.publishing.attestation.verify import verify
from editor.publishing.bundle import Signing, publish
from editor.publishing.filenames import ATTESTATION, REPORT
from tests.editor.publishing.attestation.conftest import EARLIER

WEIGHTS = "text_encoder/model.safetensors"
KEPT = "retain object accuracy drop"


def failed(found: Verification) -> set[tuple[str, str]]:
    return {(finding.check, finding.about) for finding in found.findings if finding.outcome == "failed"}


def finding(found: Verification, check: str, about: str) -> Finding:
    return next(one for one in found.findings if (one.check, one.about) == (check, about))


def flip(path: Path, place: int = -1) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_what_was_published_verifies(published: Path, keys: PublicKeys, model_dir: Path) -> None:
    found = verify(VerificationCase(published, keys, model_dir))
    assert found.ok
    assert found.signed_by == [keys.keys[0].keyid]
    assert {one.outcome for one in found.findings} == {"ok"}
    assert {one.check for one in found.findings} == {
        "attestation", "signature", "file", "report", "policy", "gate", "base", "delta"
    }  # fmt: skip
    files = {path.relative_to(published).as_posix() for path in published.rglob("*") if path.is_file()}
    assert {one.about for one in found.findings if one.check == "file"} == files - {ATTESTATION}


def test_without_the_base_all_but_the_base_is_verified(published: Path, keys: PublicKeys) -> None:
    found = verify(VerificationCase(published, keys))
    assert found.ok
    assert [one.about for one in found.findings if one.outcome == "skipped"] == ["delta.safetensors"]


def test_a_tampered_byte_in_any_file_is_named(published: Path, keys: PublicKeys) -> None:
    names = [path.relative_to(published).as_posix() for path in published.rglob("*") if path.is_file()]
    assert len(names) >= 9
    for name in names:
        content = (published / name).read_bytes()
        flip(published / name, len(content) // 2)
        found = verify(VerificationCase(published, keys))
        assert not found.ok, name
        guilty = {about for check, about in failed(found) if check in ("file", "signature", "attestation")}
        assert guilty & ({"provenance", "removal"} if name == ATTESTATION else {name}), (name, failed(found))
        (published / name).write_bytes(content)
    assert verify(VerificationCase(published, keys)).ok


def test_an_altered_threshold_is_named(published: Path, keys: PublicKeys) -> None:
    report = json.loads((published / REPORT).read_text())
    report["validation"]["checks"][1]["threshold"] = 0.5
    (published / REPORT).write_text(json.dumps(report, indent=2))
    found = verify(VerificationCase(published, keys))
    assert failed(found) >= {("file", REPORT), ("policy", REPORT), ("report", REPORT), ("gate", KEPT)}
    assert finding(found, "gate", KEPT).detail == "inconclusive, but its observations give passed"


@pytest.mark.parametrize("lie", ["outcome", "figure", "verdict"])
def test_gates_that_do_not_follow_from_their_figures_are_named_even_if_signed(
    published: Path, keys: PublicKeys, key_folder: KeyFolder, lie: str
) -> None:
    """The signer itself lies: everything is consistent but the arithmetic."""
    raw = json.loads((published / REPORT).read_text())
    if lie == "outcome":
        raw["validation"]["checks"][1]["outcome"] = raw["verdict"] = "passed"
    elif lie == "figure":
        raw["validation"]["checks"][1]["measured"] |= {"value": 0.0, "low": 0.0, "high": 0.0}
    else:
        raw["verdict"] = "passed"
    report = AuditReport.model_validate(raw)
    content = report.model_dump_json(indent=2).encode()
    (published / REPORT).write_bytes(content)
    signer = key_folder.signer(report.created_at)
    assert signer is not None
    (published / ATTESTATION).write_bytes(
        to_json_lines(sign_statement(one, signer) for one in make_statements(report, {}, content))
    )
    found = verify(VerificationCase(published, keys))
    assert failed(found) == {("gate", "verdict" if lie == "verdict" else KEPT)}


def test_a_swapped_report_is_named(
    published: Path, keys: PublicKeys, key_folder: KeyFolder, report: AuditReport, update: TensorUpdate, model_dir: Path
) -> None:
    """A report of another edit, which was really published and signed by the same key."""
    other = published.parent / "other"
    changed = report.model_copy(update={"job_id": "edit_2", "verdict": "passed"})
    publish(changed, [update], model_dir, [], other, signing=Signing(key_folder.signer(report.created_at)))
    (published / REPORT).write_bytes((other / REPORT).read_bytes())
    found = verify(VerificationCase(published, keys))
    assert failed(found) >= {("file", REPORT), ("report", REPORT)}
    assert "jobId, verdict" in finding(found, "report", REPORT).detail


def test_an_attestation_of_another_edit_is_of_no_use(
    published: Path, keys: PublicKeys, key_folder: KeyFolder, report: AuditReport, update: TensorUpdate, model_dir: Path
) -> None:
    other = published.parent / "other"
    changed = report.model_copy(update={"job_id": "edit_2"})
    publish(changed, [update], model_dir, [], other, signing=Signing(key_folder.signer(report.created_at)))
    (published / ATTESTATION).write_bytes((other / ATTESTATION).read_bytes())
    assert failed(verify(VerificationCase(published, keys))) >= {("file", REPORT), ("report", REPORT)}


def test_an_unknown_key_is_named(published: Path, tmp_path: Path, keys: PublicKeys) -> None:
    strangers = KeyFolder(tmp_path / "strangers")
    strangers.create(EARLIER)
    found = verify(VerificationCase(published, strangers.public()))
    assert failed(found) == {("signature", "provenance"), ("signature", "removal")}
    assert f"unknown key {keys.keys[0].keyid}" in finding(found, "signature", "removal").detail
    assert found.signed_by == []


def test_a_revoked_key_and_one_out_of_its_time_do_not_count(published: Path, keys: PublicKeys) -> None:
    (key,) = keys.keys
    revoked = PublicKeys(keys=[key.model_copy(update={"revoked_at": EARLIER})])
    assert "revoked" in finding(verify(VerificationCase(published, revoked)), "signature", "removal").detail
    retired = PublicKeys(keys=[key.model_copy(update={"not_after": EARLIER + timedelta(days=1)})])
    assert (
        "not valid at that time" in finding(verify(VerificationCase(published, retired)), "signature", "removal").detail
    )
    later = PublicKeys(keys=[key.model_copy(update={"not_after": EARLIER + timedelta(days=400)})])
    assert verify(VerificationCase(published, later)).ok


def test_unsigned_files_are_said_to_be_unsigned(published: Path, keys: PublicKeys) -> None:
    (published / ATTESTATION).unlink()
    found = verify(VerificationCase(published, keys))
    assert ("attestation", "removal") in failed(found)
    assert "not signed" in finding(found, "attestation", "removal").detail
    assert not [one for one in found.findings if one.check == "file" and one.outcome != "ok"]
    flip(published / "README.md")
    assert ("file", "README.md") in failed(verify(VerificationCase(published, keys))), (
        "the report's own list is better than none"
    )


def test_a_report_without_a_key_says_so_and_leaves_no_old_attestation(
    report: AuditReport, update: TensorUpdate, model_dir: Path, published: Path
) -> None:
    again = publish(report, [update], model_dir, [], published)
    assert again.signed_by is None
    assert not (published / ATTESTATION).exists()


def test_missing_files_count_unless_only_some_were_fetched(published: Path, keys: PublicKeys) -> None:
    (published / WEIGHTS).unlink()
    assert failed(verify(VerificationCase(published, keys))) == {("file", WEIGHTS)}
    assert verify(VerificationCase(published, keys, partial=True)).ok


def test_files_that_nobody_signed_are_pointed_out(published: Path, keys: PublicKeys) -> None:
    (published / "extra.bin").write_bytes(b"?")
    found = verify(VerificationCase(published, keys))
    assert finding(found, "file", "extra.bin").outcome == "skipped"


def test_another_base_is_named(published: Path, keys: PublicKeys, model_dir: Path, tmp_path: Path) -> None:
    import shutil

    other = shutil.copytree(model_dir, tmp_path / "other-base")
    flip(other / WEIGHTS)
    found = verify(VerificationCase(published, keys, other))
    assert ("base", WEIGHTS) in failed(found)
    assert ("delta", WEIGHTS) in failed(found), "base plus delta is another file"


def test_a_delta_that_was_not_applied_is_named(published: Path, keys: PublicKeys, model_dir: Path) -> None:
    (published / WEIGHTS).write_bytes((model_dir / WEIGHTS).read_bytes())
    assert failed(verify(VerificationCase(published, keys))) == {("file", WEIGHTS), ("delta", WEIGHTS)}


def expunge_verify(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    app = typer.Typer()
    app.command()(command)
    monkeypatch.setattr(sys, "argv", ["expunge", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        run(app)
    return int(caught.value.code or 0)


def test_the_command_tells_people_and_machines(
    published: Path, key_folder: KeyFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = (published, "--keys", key_folder.root / "keys.json")
    assert expunge_verify(monkeypatch, *arguments) == 0
    assert "\nverified\n" in capsys.readouterr().out
    flip(published / "README.md")
    assert expunge_verify(monkeypatch, *arguments) == NOT_PASSED
    shown = capsys.readouterr().out
    assert "failed file README.md: sha256 is " in shown
    assert "not verified" in shown
    assert expunge_verify(monkeypatch, *arguments, "--json") == NOT_PASSED
    assert failed(Verification.model_validate_json(capsys.readouterr().out)) == {("file", "README.md")}
