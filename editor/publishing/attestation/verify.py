"""Verify a published folder, offline: who signed it, whether every byte is what was signed, whether it adds up.

Each check is a generator of findings and stands alone, so that what fails is named, and nothing else fails with it.
"""

from collections.abc import Iterator
from datetime import datetime
from pathlib import PurePosixPath

from api_schemas.attestation import REMOVAL, Finding, Outcome, PublicKey, Statement, Verification
from editor.checkpoints import file_digest
from editor.publishing.attestation import dsse
from editor.publishing.attestation.content_checks import contents
from editor.publishing.attestation.statements import plain, removal_predicate
from editor.publishing.attestation.verification_case import KINDS, Attested, Case, outcome
from editor.publishing.filenames import ATTESTATION, PRIVATE_PAGE, PRIVATE_REPORT, REPORT


def verify(case: Case) -> Verification:
    """Run every check."""
    findings = [*attestations(case), *signatures(case), *files(case), *agreement(case), *contents(case)]
    good = {key.keyid for one in case.attested for key in trusted(case, one)}
    ok = all(finding.outcome != "failed" for finding in findings)
    return Verification(ok=ok, signed_by=sorted(good), findings=findings)


def attestations(case: Case) -> Iterator[Finding]:
    """Both statements are there."""
    found = {one.name for one in case.attested}
    for name in KINDS.values():
        there = name in found
        yield Finding(
            check="attestation",
            outcome=outcome(there),
            about=name,
            detail="present"
            if there
            else f"{ATTESTATION} holds no readable statement of this kind: not signed, or damaged",
        )


def signatures(case: Case) -> Iterator[Finding]:
    """Each statement is signed by a key that is trusted, and was good at the time."""
    for one in case.attested:
        good = trusted(case, one)
        detail = f"by {good[0].keyid}" if good else refusal(case, one)
        yield Finding(check="signature", outcome=outcome(bool(good)), about=one.name, detail=detail)


def trusted(case: Case, one: Attested) -> list[PublicKey]:
    """The trusted keys whose signature holds."""
    at = signed_at(one.statement)
    return dsse.usable_signers(one.envelope, case.keys, at) if at else []


def refusal(case: Case, one: Attested) -> str:
    """Why no signature counts."""
    for key in dsse.signers(one.envelope, case.keys):
        if key.revoked_at:
            return f"key {key.keyid} signed it, which was revoked at {key.revoked_at.isoformat()}"
        return f"key {key.keyid} signed it, which was not valid at that time"
    named = [signature.keyid for signature in one.envelope.signatures]
    known = [keyid for keyid in named if case.keys.find(keyid)]
    if known:
        return f"the signature of key {known[0]} does not hold: the statement was altered"
    return f"unknown key {', '.join(named) or 'without an id'}: it is not among the {len(case.keys.keys)} trusted"


def signed_at(statement: Statement) -> datetime | None:
    """When the edit was made, as its statement says."""
    body = statement.predicate
    if statement.predicate_type == REMOVAL:
        text = body.get("createdAt")
    else:
        text = body.get("runDetails", {}).get("metadata", {}).get("startedOn")
    return datetime.fromisoformat(text) if isinstance(text, str) else None


def files(case: Case) -> Iterator[Finding]:
    """Every signed file is there and has its digest; files that nobody signed are named."""
    for name, digest in sorted(case.digests.items()):
        yield file_finding(case, name, digest)
    there = {path.relative_to(case.folder).as_posix() for path in case.folder.rglob("*") if path.is_file()}
    for name in sorted(there - case.digests.keys() - {ATTESTATION, REPORT, PRIVATE_REPORT, PRIVATE_PAGE}):
        yield Finding(check="file", outcome="skipped", about=name, detail="not covered by the attestation")


def file_finding(case: Case, name: str, digest: str) -> Finding:
    """One signed file."""
    path = case.folder / name
    if not inside(name):
        return Finding(check="file", outcome="failed", about=name, detail="lies outside of the folder")
    if not path.is_file():
        missing: Outcome = "skipped" if case.partial else "failed"
        return Finding(check="file", outcome=missing, about=name, detail="is missing")
    found = file_digest(path)
    detail = "as listed" if found == digest else f"sha256 is {found}, and should be {digest}"
    return Finding(check="file", outcome=outcome(found == digest), about=name, detail=detail)


def inside(name: str) -> bool:
    """Whether a signed name stays in the folder."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\0" not in name


def agreement(case: Case) -> Iterator[Finding]:
    """The report and the attestation are about the same edit, and say the same of it."""
    if case.removal is None:
        return
    if case.report is None:
        yield Finding(check="report", outcome="failed", about=REPORT, detail="can't be read")
        return
    says, signed = plain(removal_predicate(case.report)), plain(case.removal)
    differing = [key for key in signed if says.get(key) != signed[key]]
    detail = f"differs from what was signed in {', '.join(differing)}" if differing else "says what was signed"
    yield Finding(check="report", outcome=outcome(not differing), about=REPORT, detail=detail)
