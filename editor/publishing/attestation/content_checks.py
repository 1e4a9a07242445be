"""Check the contents of a bundle: gates against their observations, the delta, and base plus delta against the weights."""

from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from api_schemas.attestation import Finding
from api_schemas.report import AuditReport, Check, Verdict
from editor.checkpoints.safetensors_header import read_layout
from editor.errors import EditorError
from editor.io.digests import file_digest, salted_digest, stream_digest
from editor.judging.gates import combine_verdicts, recompute_measure, recompute_outcomes
from editor.publishing.apply import Patch, plan_patches
from editor.publishing.attestation.statements import policy_digest
from editor.publishing.attestation.verification_case import VerificationCase, ok_or_failed
from editor.publishing.delta import DeltaHeader, delta_key, open_delta
from editor.publishing.filenames import DELTA, PRIVATE_REPORT, REPORT
from editor.publishing.overlay import read_chunks, segments_digest
from editor.publishing.redaction import PrivateReport

DOCUMENTATION_SUFFIX = ".md"
"""A base model may lack its model cards: they do not affect images."""


def check_contents(case: VerificationCase) -> Iterator[Finding]:
    """Run every check of the contents."""
    if case.report:
        yield from check_policy(case, case.report)
        yield from check_gates(case.report)
        yield from check_names(case, case.report)
    yield from check_base_files(case)
    if (case.folder / DELTA).is_file():
        yield from check_delta(case)


def check_policy(case: VerificationCase, report: AuditReport) -> Iterator[Finding]:
    """Check that the thresholds are the ones that were fixed before the run."""
    if not (report.validation and case.removal and case.removal.policy):
        return
    same = policy_digest(report.validation) == case.removal.policy.sha256
    detail = "the thresholds match the signed ones" if same else "a threshold differs from the signed one"
    yield Finding(check="policy", outcome=ok_or_failed(same), about=REPORT, detail=detail)


def check_gates(report: AuditReport) -> Iterator[Finding]:
    """Recompute each gate from the observations of its prompts, and the verdict from the gates."""
    if report.validation is None:
        return
    checks, confidence = report.validation.checks, report.validation.confidence
    for one, again in zip(checks, recompute_outcomes(checks, confidence), strict=True):
        yield check_gate(one, again, confidence)
    verdict = combine_verdicts([one.outcome for one in checks])
    detail = f"reported {report.verdict}; the gates give {verdict}"
    yield Finding(check="gate", outcome=ok_or_failed(verdict == report.verdict), about="verdict", detail=detail)


def check_gate(one: Check, again: Verdict, confidence: float) -> Finding:
    """Compare a gate with its recomputed outcome."""
    figure = recompute_measure(one, confidence) if one.observations else one.measured
    if figure != one.measured:
        detail = f"measured {one.measured.value:.4g}, but its observations give {figure.value:.4g}"
        return Finding(check="gate", outcome="failed", about=one.name, detail=detail)
    same = again == one.outcome
    detail = f"{one.outcome}, as its observations give" if same else f"{one.outcome}, but its observations give {again}"
    return Finding(check="gate", outcome=ok_or_failed(same), about=one.name, detail=detail)


def check_names(case: VerificationCase, report: AuditReport) -> Iterator[Finding]:
    """Check that the private report, if present, names the concepts whose salted digests were published."""
    path = case.folder / PRIVATE_REPORT
    if not path.is_file():
        return
    try:
        private = PrivateReport.model_validate_json(path.read_bytes())
    except ValidationError:
        yield Finding(check="names", outcome="failed", about=PRIVATE_REPORT, detail="cannot be read")
        return
    digests = [salted_digest(private.salt, removal.concept) for removal in private.report.removals]
    same = digests == [removal.withheld for removal in report.removals]
    detail = (
        "names the concepts of the published report" if same else "does not name the concepts of the published report"
    )
    yield Finding(check="names", outcome=ok_or_failed(same), about=PRIVATE_REPORT, detail=detail)


def check_base_files(case: VerificationCase) -> Iterator[Finding]:
    """Check that the files of the base model are the ones that were edited."""
    if case.removal is None or case.base is None:
        return
    for name, digest in case.removal.base_files.items():
        path = case.base if case.base.is_file() else case.base / name
        if not path.is_file():
            if name.endswith(DOCUMENTATION_SUFFIX):
                yield Finding(check="base", outcome="skipped", about=name, detail="not in the base model")
                continue
            yield Finding(check="base", outcome="failed", about=name, detail="the base model has no such file")
            continue
        found = file_digest(path)
        detail = "as signed" if found == digest.sha256 else f"sha256 is {found}; the signed one is {digest.sha256}"
        yield Finding(check="base", outcome=ok_or_failed(found == digest.sha256), about=name, detail=detail)


def check_delta(case: VerificationCase) -> Iterator[Finding]:
    """Check the delta against the signed tensors, and the full weights against the delta and against base plus delta."""
    path = case.folder / DELTA
    try:
        header, spans = open_delta(path)
        digests = {name: range_digest(path, span.start, span.end) for name, span in spans.items()}
        yield from check_signed_tensors(case, header, digests)
        yield from check_full_weights(case, header, digests)
        yield from check_applied_delta(case)
    except EditorError as error:
        yield Finding(check="delta", outcome="failed", about=DELTA, detail=error.message)


def check_signed_tensors(case: VerificationCase, header: DeltaHeader, digests: dict[str, str]) -> Iterator[Finding]:
    """Check that each original and edited tensor is the signed one."""
    if case.removal is None:
        return
    signed = {(one.component, one.name): (one.base.sha256, one.edited.sha256) for one in case.removal.tensors}
    found = {
        (original.component, original.name): (original.sha256, digests[delta_key(file, stored)])
        for file, part in header.files.items()
        for stored, original in part.tensors.items()
    }
    for component, name in sorted(signed.keys() | found.keys()):
        same = signed.get((component, name)) == found.get((component, name))
        detail = "as signed" if same else "the tensor differs from the signed one"
        yield Finding(check="delta", outcome=ok_or_failed(same), about=f"{component} {name}", detail=detail)


def check_full_weights(case: VerificationCase, header: DeltaHeader, digests: dict[str, str]) -> Iterator[Finding]:
    """Check that the published full weights contain the delta's tensors."""
    for file, part in header.files.items():
        path = case.folder / file
        if not path.is_file():
            continue
        spans = read_layout(path).spans
        for stored in part.tensors:
            found = stored in spans and range_digest(path, spans[stored].start, spans[stored].end)
            same = found == digests[delta_key(file, stored)]
            detail = f"{stored} matches the delta" if same else f"{stored} differs from the delta"
            yield Finding(check="delta", outcome=ok_or_failed(same), about=file, detail=detail)


def check_applied_delta(case: VerificationCase) -> Iterator[Finding]:
    """Check that base plus delta gives the published weights, byte for byte, even if the bundle lacks them."""
    if case.base is None:
        detail = "not checked whether base plus delta gives the published weights: that needs the base model (--base)"
        yield Finding(check="delta", outcome="skipped", about=DELTA, detail=detail)
        return
    for patch in plan_patches(case.base, case.folder / DELTA):
        yield check_patch(case, patch)


def check_patch(case: VerificationCase, patch: Patch) -> Finding:
    """Check one file of base plus delta."""
    signed = case.digests.get(patch.name)
    if signed is None:
        detail = "applies to the base model; full weights were not published"
        return Finding(check="delta", outcome="ok", about=patch.name, detail=detail)
    same = segments_digest(patch.segments, patch.base, case.folder / DELTA) == signed
    detail = "equals base plus delta" if same else "differs from base plus delta"
    return Finding(check="delta", outcome=ok_or_failed(same), about=patch.name, detail=detail)


def range_digest(path: Path, start: int, end: int) -> str:
    """Return the sha256 of a byte range of a file."""
    with path.open("rb") as file:
        return stream_digest(read_chunks(file, start, end))
