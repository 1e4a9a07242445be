"""Verify a bundle offline: its signatures, the digest of every file, and the consistency of its contents.

Each check yields findings independently of the others, so one failure does not hide another.
"""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path, PurePosixPath

from api_schemas.attestation import REMOVAL, Finding, Outcome, PublicKey, Statement, Verification
from api_schemas.model_files import is_hidden
from editor.errors import EditorError
from editor.io.digests import file_digest
from editor.publishing.apply import plan_patches
from editor.publishing.attestation import dsse
from editor.publishing.attestation.content_checks import check_contents
from editor.publishing.attestation.keys import read_keys
from editor.publishing.attestation.manifest_check import UNSIGNED_FILES, check_manifest
from editor.publishing.attestation.statements import as_json, removal_predicate
from editor.publishing.attestation.verification_case import (
    PREDICATE_NAMES,
    SignedStatement,
    VerificationCase,
    ok_or_failed,
)
from editor.publishing.filenames import ATTESTATION, DELTA, LEDGER_FOLDER, REPORT
from editor.publishing.overlay import segments_digest


def verify_bundle(folder: Path, keys: Path, base: Path | None = None, *, partial: bool = False) -> Verification:
    """Verify a published folder offline.

    Args:
        folder: the published files.
        keys: the trusted public keys, as `expunge keys export` prints them.
        base: the base model; with it, the delta is checked against its base and the published weights against both.
        partial: accept missing files.

    Raises:
        SigningError: ``keys`` is not a public key list.
    """
    return verify(VerificationCase(folder, read_keys(keys), base, partial))


def verify(case: VerificationCase) -> Verification:
    """Run every check."""
    findings = [
        *check_statements(case),
        *check_signatures(case),
        *check_files(case),
        *check_manifest(case),
        *check_report(case),
        *check_contents(case),
    ]
    good = {key.keyid for one in case.statements for key in trusted_keys(case, one)}
    ok = all(finding.outcome in ("ok", "skipped") for finding in findings)
    return Verification(ok=ok, signed_by=sorted(good), findings=findings)


def check_statements(case: VerificationCase) -> Iterator[Finding]:
    """Check that both statements are present."""
    found = {one.name for one in case.statements}
    for name in PREDICATE_NAMES.values():
        there = name in found
        yield Finding(
            check="attestation",
            outcome=ok_or_failed(there),
            about=name,
            detail="present"
            if there
            else f"{ATTESTATION} contains no readable statement of this type: the bundle is not signed, or it is damaged",
        )


def check_signatures(case: VerificationCase) -> Iterator[Finding]:
    """Check that each statement is signed by a trusted key that was valid at the time."""
    for one in case.statements:
        good = trusted_keys(case, one)
        detail = f"by {good[0].keyid}" if good else rejection_reason(case, one)
        yield Finding(check="signature", outcome=ok_or_failed(bool(good)), about=one.name, detail=detail)


def trusted_keys(case: VerificationCase, one: SignedStatement) -> list[PublicKey]:
    """Return the trusted keys whose signature of a statement is valid."""
    at = signing_time(one.statement)
    return dsse.find_valid_signers(one.envelope, case.keys, at) if at else []


def rejection_reason(case: VerificationCase, one: SignedStatement) -> str:
    """Explain why no signature of a statement is valid."""
    for key in dsse.find_signers(one.envelope, case.keys):
        if key.revoked_at:
            return f"signed by key {key.keyid}, which was revoked at {key.revoked_at.isoformat()}"
        return f"signed by key {key.keyid}, which was not valid at that time"
    named = [signature.keyid for signature in one.envelope.signatures]
    known = [keyid for keyid in named if case.keys.find(keyid)]
    if known:
        return f"the signature of key {known[0]} is invalid: the statement was altered"
    keys = ", ".join(named) or "without an id"
    return f"signed by unknown key {keys}, which is not among the {len(case.keys.keys)} trusted keys"


def signing_time(statement: Statement) -> datetime | None:
    """Return the time of the edit according to its statement."""
    body = statement.predicate
    if statement.predicate_type == REMOVAL:
        text = body.get("createdAt")
    else:
        text = body.get("runDetails", {}).get("metadata", {}).get("startedOn")
    return datetime.fromisoformat(text) if isinstance(text, str) else None


def check_files(case: VerificationCase) -> Iterator[Finding]:
    """Check that every published file is present and unaltered, and that every other file is the base model's."""
    for name, digest in sorted(case.digests.items()):
        yield check_file(case, name, digest)
    paths = [path.relative_to(case.folder) for path in case.folder.rglob("*") if path.is_file()]
    there = {path.as_posix() for path in paths if not is_hidden(path)}
    for name in sorted(there - case.digests.keys() - UNSIGNED_FILES):
        yield check_unpublished_file(case, name)


def check_unpublished_file(case: VerificationCase, name: str) -> Finding:
    """Check a file that the edit did not publish: of the whole pipeline, the statement has the base model's digests."""
    signed = case.base_digests.get(name)
    if signed is None and PurePosixPath(name).parent.as_posix() == LEDGER_FOLDER:
        return Finding(
            check="file", outcome="skipped", about=name, detail="part of your ledger, which is not published"
        )
    if signed is None:
        return Finding(check="file", outcome="unknown", about=name, detail="nobody signed it")
    if file_digest(case.folder / name) == signed:
        return Finding(check="file", outcome="ok", about=name, detail="the base model's, as signed")
    if name in case.edited_files:
        return check_assembled_file(case, name)
    return Finding(check="file", outcome="failed", about=name, detail=f"differs from the base model's, sha256 {signed}")


def check_assembled_file(case: VerificationCase, name: str) -> Finding:
    """Check an edited file whose digest was not published, because full weights were not."""
    if case.base is None:
        detail = "its digest was not published; to check it against base plus delta, pass the base model (--base)"
        return Finding(check="file", outcome="unknown", about=name, detail=detail)
    try:
        same = assembled_digest(case.base, case.folder / DELTA, name) == file_digest(case.folder / name)
    except EditorError as error:
        return Finding(check="file", outcome="failed", about=name, detail=error.message)
    detail = "equals base plus delta" if same else "differs from base plus delta"
    return Finding(check="file", outcome=ok_or_failed(same), about=name, detail=detail)


def assembled_digest(base: Path, delta: Path, name: str) -> str | None:
    """Return the sha256 of a file of base plus delta. Raises PublishingError: the delta does not fit the base model."""
    patches = (patch for patch in plan_patches(base, delta) if patch.name == name)
    return next((segments_digest(patch.segments, patch.base, delta) for patch in patches), None)


def check_file(case: VerificationCase, name: str, digest: str) -> Finding:
    """Check one signed file."""
    path = case.folder / name
    if not is_inside_folder(name):
        return Finding(check="file", outcome="failed", about=name, detail="is outside the folder")
    if not path.is_file():
        missing: Outcome = "skipped" if case.partial else "failed"
        return Finding(check="file", outcome=missing, about=name, detail="is missing")
    found = file_digest(path)
    detail = "as listed" if found == digest else f"sha256 is {found}, expected {digest}"
    return Finding(check="file", outcome=ok_or_failed(found == digest), about=name, detail=detail)


def is_inside_folder(name: str) -> bool:
    """Whether a signed name stays inside the folder."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\0" not in name


def check_report(case: VerificationCase) -> Iterator[Finding]:
    """Check that the report agrees with the attestation."""
    if case.removal is None:
        return
    if case.report is None:
        yield Finding(check="report", outcome="failed", about=REPORT, detail="cannot be read")
        return
    reported, signed = as_json(removal_predicate(case.report)), as_json(case.removal)
    differing = [key for key in signed if reported.get(key) != signed[key]]
    detail = f"differs from the attestation in {', '.join(differing)}" if differing else "agrees with the attestation"
    yield Finding(check="report", outcome=ok_or_failed(not differing), about=REPORT, detail=detail)
