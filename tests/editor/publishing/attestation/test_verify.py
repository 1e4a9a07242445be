"""Verification accepts a published folder and reports exactly what was modified."""

import json
import re
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
from editor.io.digests import file_digest
from editor.publishing.apply import apply_delta
from editor.publishing.attestation.dsse import sign_statement, to_json_lines
from editor.publishing.attestation.keys import KeyFolder
from editor.publishing.attestation.statements import make_statements
from editor.publishing.attestation.verification_case import VerificationCase
from editor.publishing.attestation.verify import verify
from editor.publishing.bundle import Signing, publish
from editor.publishing.filenames import ATTESTATION, MANIFEST, REPORT
from tests.editor.publishing.attestation.conftest import EARLIER

WEIGHTS = "text_encoder/model.safetensors"
RETAIN_GATE = "retain object accuracy drop"


def failed_checks(found: Verification) -> set[tuple[str, str]]:
    return {(finding.check, finding.about) for finding in found.findings if finding.outcome == "failed"}


def find_finding(found: Verification, check: str, about: str) -> Finding:
    return next(one for one in found.findings if (one.check, one.about) == (check, about))


def flip_bit(path: Path, place: int = -1) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_published_folder_verifies(published: Path, keys: PublicKeys, model_dir: Path) -> None:
    found = verify(VerificationCase(published, keys, model_dir))
    assert found.ok
    assert found.signed_by == [keys.keys[0].keyid]
    assert {one.outcome for one in found.findings} == {"ok"}
    assert {one.check for one in found.findings} == {
        "attestation", "signature", "file", "report", "policy", "gate", "base", "delta"
    }  # fmt: skip
    files = {path.relative_to(published).as_posix() for path in published.rglob("*") if path.is_file()}
    assert {one.about for one in found.findings if one.check == "file"} == files - {ATTESTATION}


def test_base_checks_are_skipped_without_the_base(published: Path, keys: PublicKeys) -> None:
    found = verify(VerificationCase(published, keys))
    assert found.ok
    assert [one.about for one in found.findings if one.outcome == "skipped"] == ["delta.safetensors"]


def test_flipped_byte_in_any_file_is_reported(published: Path, keys: PublicKeys) -> None:
    names = [path.relative_to(published).as_posix() for path in published.rglob("*") if path.is_file()]
    assert len(names) >= 9
    for name in names:
        content = (published / name).read_bytes()
        flip_bit(published / name, len(content) // 2)
        found = verify(VerificationCase(published, keys))
        assert not found.ok, name
        guilty = {about for check, about in failed_checks(found) if check in ("file", "signature", "attestation")}
        assert guilty & ({"provenance", "removal"} if name == ATTESTATION else {name}), (name, failed_checks(found))
        (published / name).write_bytes(content)
    assert verify(VerificationCase(published, keys)).ok


def test_altered_threshold_is_reported(published: Path, keys: PublicKeys) -> None:
    report = json.loads((published / REPORT).read_text())
    report["validation"]["checks"][1]["threshold"] = 0.5
    (published / REPORT).write_text(json.dumps(report, indent=2))
    found = verify(VerificationCase(published, keys))
    assert failed_checks(found) >= {("file", REPORT), ("policy", REPORT), ("report", REPORT), ("gate", RETAIN_GATE)}
    assert find_finding(found, "gate", RETAIN_GATE).detail == "inconclusive, but its observations give passed"


@pytest.mark.parametrize("altered", ["outcome", "figure", "verdict"])
def test_signed_gates_that_contradict_their_observations_are_reported(
    published: Path, keys: PublicKeys, key_folder: KeyFolder, altered: str
) -> None:
    """A dishonest signer: everything is consistent except the arithmetic."""
    raw = json.loads((published / REPORT).read_text())
    if altered == "outcome":
        raw["validation"]["checks"][1]["outcome"] = raw["verdict"] = "passed"
    elif altered == "figure":
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
    assert failed_checks(found) == {("gate", "verdict" if altered == "verdict" else RETAIN_GATE)}


def test_swapped_report_is_reported(
    published: Path, keys: PublicKeys, key_folder: KeyFolder, report: AuditReport, update: TensorUpdate, model_dir: Path
) -> None:
    """The report belongs to another edit that was published and signed with the same key."""
    other = published.parent / "other"
    changed = report.model_copy(update={"job_id": "edit_2", "verdict": "passed"})
    publish(changed, [update], model_dir, [], other, signing=Signing(key_folder.signer(report.created_at)))
    (published / REPORT).write_bytes((other / REPORT).read_bytes())
    found = verify(VerificationCase(published, keys))
    assert failed_checks(found) >= {("file", REPORT), ("report", REPORT)}
    assert "jobId, verdict" in find_finding(found, "report", REPORT).detail


def test_attestation_of_another_edit_fails_verification(
    published: Path, keys: PublicKeys, key_folder: KeyFolder, report: AuditReport, update: TensorUpdate, model_dir: Path
) -> None:
    other = published.parent / "other"
    changed = report.model_copy(update={"job_id": "edit_2"})
    publish(changed, [update], model_dir, [], other, signing=Signing(key_folder.signer(report.created_at)))
    (published / ATTESTATION).write_bytes((other / ATTESTATION).read_bytes())
    assert failed_checks(verify(VerificationCase(published, keys))) >= {("file", REPORT), ("report", REPORT)}


def test_unknown_key_is_reported(published: Path, tmp_path: Path, keys: PublicKeys) -> None:
    strangers = KeyFolder(tmp_path / "strangers")
    strangers.create(EARLIER)
    found = verify(VerificationCase(published, strangers.public()))
    assert failed_checks(found) == {("signature", "provenance"), ("signature", "removal")}
    assert f"unknown key {keys.keys[0].keyid}" in find_finding(found, "signature", "removal").detail
    assert found.signed_by == []


def test_revoked_and_expired_keys_fail_verification(published: Path, keys: PublicKeys) -> None:
    (key,) = keys.keys
    revoked = PublicKeys(keys=[key.model_copy(update={"revoked_at": EARLIER})])
    assert "revoked" in find_finding(verify(VerificationCase(published, revoked)), "signature", "removal").detail
    retired = PublicKeys(keys=[key.model_copy(update={"not_after": EARLIER + timedelta(days=1)})])
    assert (
        "not valid at that time"
        in find_finding(verify(VerificationCase(published, retired)), "signature", "removal").detail
    )
    later = PublicKeys(keys=[key.model_copy(update={"not_after": EARLIER + timedelta(days=400)})])
    assert verify(VerificationCase(published, later)).ok


def test_missing_attestation_is_reported_as_unsigned(published: Path, keys: PublicKeys) -> None:
    (published / ATTESTATION).unlink()
    found = verify(VerificationCase(published, keys))
    assert ("attestation", "removal") in failed_checks(found)
    assert "not signed" in find_finding(found, "attestation", "removal").detail
    assert not [one for one in found.findings if one.check == "file" and one.outcome != "ok"]
    flip_bit(published / "README.md")
    assert ("file", "README.md") in failed_checks(verify(VerificationCase(published, keys))), (
        "the report's own list is better than none"
    )


def test_unsigned_report_says_so_and_removes_the_old_attestation(
    report: AuditReport, update: TensorUpdate, model_dir: Path, published: Path
) -> None:
    again = publish(report, [update], model_dir, [], published)
    assert again.signed_by is None
    assert not (published / ATTESTATION).exists()


def test_missing_files_fail_unless_a_partial_download_is_allowed(published: Path, keys: PublicKeys) -> None:
    (published / WEIGHTS).unlink()
    assert failed_checks(verify(VerificationCase(published, keys))) == {("file", WEIGHTS)}
    assert verify(VerificationCase(published, keys, partial=True)).ok


def test_unsigned_extra_files_are_reported(published: Path, keys: PublicKeys) -> None:
    (published / "extra.bin").write_bytes(b"?")
    found = verify(VerificationCase(published, keys))
    assert find_finding(found, "file", "extra.bin").outcome == "unknown"
    assert not found.ok
    (published / "extra.bin").unlink()
    (published / ".cache").mkdir()
    (published / ".cache" / "metadata").write_bytes(b"?")
    assert verify(VerificationCase(published, keys)).ok, "no loader reads hidden files"


def test_manifest_of_a_service_is_compared_with_the_files(published: Path, keys: PublicKeys) -> None:
    paths = [path for path in published.rglob("*") if path.is_file()]
    listed = {path.relative_to(published).as_posix(): file_digest(path) for path in paths}
    outcomes = []
    for altered in ({}, {REPORT: "0" * 64}, {ATTESTATION: "0" * 64}, {"README.md": "0" * 64}, {"extra.bin": "0" * 64}):
        files = [{"name": name, "sha256": sha256} for name, sha256 in (listed | altered).items()]
        (published / MANIFEST).write_text(json.dumps({"edit": "edit_1", "files": files}))
        outcomes.append(find_finding(verify(VerificationCase(published, keys)), "file", MANIFEST).outcome)
    assert outcomes == ["ok", "failed", "failed", "failed", "failed"]
    (published / MANIFEST).write_text("{}")
    assert failed_checks(verify(VerificationCase(published, keys))) == {("file", MANIFEST)}


def served_pipeline(published: Path, model_dir: Path) -> Path:
    """Add the rest of the base model to a published folder, as the Hub routes serve the whole pipeline."""
    for path in model_dir.rglob("*"):
        target = published / path.relative_to(model_dir)
        if path.is_file() and not target.exists():
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(path.read_bytes())
    return published


def test_every_file_of_a_served_pipeline_is_verified(published: Path, keys: PublicKeys, model_dir: Path) -> None:
    """Weights, configurations, tokenizers and ``model_index.json``, with the base model at hand and without it."""
    pipeline = served_pipeline(published, model_dir)
    names = [path.relative_to(model_dir).as_posix() for path in model_dir.rglob("*") if path.is_file()]
    assert {"unet/diffusion_pytorch_model.safetensors", "model_index.json"} < set(names)
    assert any(name.startswith("tokenizer/") for name in names)
    for base in (None, model_dir):
        found = verify(VerificationCase(pipeline, keys, base))
        assert found.ok
        assert {one.about for one in found.findings if one.check == "file" and one.outcome == "ok"} >= set(names)
    for name in names:
        content = (pipeline / name).read_bytes()
        flip_bit(pipeline / name)
        for base in (None, model_dir):
            found = verify(VerificationCase(pipeline, keys, base))
            assert ("file", name) in failed_checks(found), name
        (pipeline / name).write_bytes(content)


def test_weights_without_a_published_digest_are_unknown_until_the_base_is_given(
    report: AuditReport, update: TensorUpdate, model_dir: Path, key_folder: KeyFolder, tmp_path: Path
) -> None:
    signing = Signing(key_folder.signer(report.created_at))
    publish(report, [update], model_dir, [], tmp_path, full=False, signing=signing)
    (tmp_path / "overlays.json").unlink()
    apply_delta(model_dir, tmp_path / "delta.safetensors", tmp_path)
    found = verify(VerificationCase(tmp_path, key_folder.public()))
    assert find_finding(found, "file", WEIGHTS).outcome == "unknown"
    assert verify(VerificationCase(tmp_path, key_folder.public(), model_dir)).ok
    flip_bit(tmp_path / WEIGHTS)
    found = verify(VerificationCase(tmp_path, key_folder.public(), model_dir))
    assert ("file", WEIGHTS) in failed_checks(found)


def test_another_base_model_is_reported(published: Path, keys: PublicKeys, model_dir: Path, tmp_path: Path) -> None:
    import shutil

    other = shutil.copytree(model_dir, tmp_path / "other-base")
    flip_bit(other / WEIGHTS)
    found = verify(VerificationCase(published, keys, other))
    assert ("base", WEIGHTS) in failed_checks(found)
    assert ("delta", WEIGHTS) in failed_checks(found), "base plus delta gives another file"


def test_unapplied_delta_is_reported(published: Path, keys: PublicKeys, model_dir: Path) -> None:
    (published / WEIGHTS).write_bytes((model_dir / WEIGHTS).read_bytes())
    assert failed_checks(verify(VerificationCase(published, keys))) == {("file", WEIGHTS), ("delta", WEIGHTS)}


def expunge_verify(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    app = typer.Typer()
    app.command()(command)
    monkeypatch.setattr(sys, "argv", ["expunge", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        run(app)
    return int(caught.value.code or 0)


def test_command_prints_text_and_json(
    published: Path, key_folder: KeyFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = (published, "--keys", key_folder.root / "keys.json")
    assert expunge_verify(monkeypatch, *arguments) == 0
    shown = capsys.readouterr().out
    assert "\nverified\n" in shown
    assert re.search(r"^(\d+) of \1 checks passed; 1 skipped$", shown, re.MULTILINE), "the base was not checked"
    (published / "extra.bin").write_bytes(b"?")
    assert expunge_verify(monkeypatch, *arguments) == NOT_PASSED
    assert "1 skipped; 1 unknown, which nobody signed" in capsys.readouterr().out
    (published / "extra.bin").unlink()
    flip_bit(published / "README.md")
    assert expunge_verify(monkeypatch, *arguments) == NOT_PASSED
    shown = capsys.readouterr().out
    assert "failed file README.md: sha256 is " in shown
    assert "not verified" in shown
    assert expunge_verify(monkeypatch, *arguments, "--json") == NOT_PASSED
    assert failed_checks(Verification.model_validate_json(capsys.readouterr().out)) == {("file", "README.md")}
