"""Whether what was signed adds up: gates from their figures, the delta, and base plus delta against what is published."""

from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from api_schemas.attestation import Finding
from api_schemas.report import AuditReport, Check, Verdict
from editor.checkpoints import file_digest
from editor.checkpoints.safetensors_header import read_layout
from editor.errors import EditorError
from editor.judging.gates import combine_verdicts, recompute_measure, recompute_outcomes
from editor.publishing.apply import Patch, patches
from editor.publishing.attestation.statements import policy_digest
from editor.publishing.attestation.verification_case import Case, outcome
from editor.publishing.delta import Binding, key, read_header
from editor.publishing.filenames import DELTA, PRIVATE_REPORT, REPORT
from editor.publishing.overlay import chunks, digest_of, segments_digest
from editor.publishing.redaction import PrivateReport, salted


def contents(case: Case) -> Iterator[Finding]:
    """All of it."""
    if case.report:
        yield from policy(case, case.report)
        yield from gates(case.report)
        yield from names(case, case.report)
    yield from base_files(case)
    if (case.folder / DELTA).is_file():
        yield from delta(case)


def policy(case: Case, report: AuditReport) -> Iterator[Finding]:
    """The thresholds are those that were fixed before the run."""
    if not (report.validation and case.removal and case.removal.policy):
        return
    same = policy_digest(report.validation) == case.removal.policy.sha256
    detail = "the thresholds are those that were signed" if same else "a threshold is not what was signed"
    yield Finding(check="policy", outcome=outcome(same), about=REPORT, detail=detail)


def gates(report: AuditReport) -> Iterator[Finding]:
    """Each gate follows from what was observed, prompt by prompt, and the verdict from the gates."""
    if report.validation is None:
        return
    checks, confidence = report.validation.checks, report.validation.confidence
    for one, again in zip(checks, recompute_outcomes(checks, confidence), strict=True):
        yield gate(one, again, confidence)
    verdict = combine_verdicts([one.outcome for one in checks])
    detail = f"{report.verdict}, and the gates say {verdict}"
    yield Finding(check="gate", outcome=outcome(verdict == report.verdict), about="verdict", detail=detail)


def gate(one: Check, again: Verdict, confidence: float) -> Finding:
    """A gate, and what it comes to when it is computed again from its observations."""
    figure = recompute_measure(one, confidence) if one.observations else one.measured
    if figure != one.measured:
        detail = f"measured {one.measured.value:.4g}, but its observations give {figure.value:.4g}"
        return Finding(check="gate", outcome="failed", about=one.name, detail=detail)
    same = again == one.outcome
    detail = f"{one.outcome}, as its observations say" if same else f"{one.outcome}, but its observations say {again}"
    return Finding(check="gate", outcome=outcome(same), about=one.name, detail=detail)


def names(case: Case, report: AuditReport) -> Iterator[Finding]:
    """The private report, where it is at hand, names the concepts whose salted digests were published."""
    path = case.folder / PRIVATE_REPORT
    if not path.is_file():
        return
    try:
        private = PrivateReport.model_validate_json(path.read_bytes())
    except ValidationError:
        yield Finding(check="names", outcome="failed", about=PRIVATE_REPORT, detail="can't be read")
        return
    told = [salted(private.salt, removal.concept) for removal in private.report.removals]
    same = told == [removal.withheld for removal in report.removals]
    detail = (
        "names the concepts of the published report" if same else "is not about the concepts of the published report"
    )
    yield Finding(check="names", outcome=outcome(same), about=PRIVATE_REPORT, detail=detail)


def base_files(case: Case) -> Iterator[Finding]:
    """The base model is the one that was edited, file by file."""
    if case.removal is None or case.base is None:
        return
    for name, digest in case.removal.base_files.items():
        path = case.base if case.base.is_file() else case.base / name
        if not path.is_file():
            yield Finding(check="base", outcome="failed", about=name, detail="the base model has no such file")
            continue
        found = file_digest(path)
        detail = "as signed" if found == digest.sha256 else f"sha256 is {found}, signed was {digest.sha256}"
        yield Finding(check="base", outcome=outcome(found == digest.sha256), about=name, detail=detail)


def delta(case: Case) -> Iterator[Finding]:
    """The delta holds the signed tensors, full weights hold the delta's, and base plus delta is what was published."""
    path = case.folder / DELTA
    try:
        binding, spans = read_header(path)
        held = {name: bytes_digest(path, span.start, span.end) for name, span in spans.items()}
        yield from signed_tensors(case, binding, held)
        yield from full_weights(case, binding, held)
        yield from applied(case)
    except EditorError as error:
        yield Finding(check="delta", outcome="failed", about=DELTA, detail=error.message)


def signed_tensors(case: Case, binding: Binding, held: dict[str, str]) -> Iterator[Finding]:
    """Tensor for tensor: original and edited are the ones that were signed."""
    if case.removal is None:
        return
    signed = {(one.component, one.name): (one.base.sha256, one.edited.sha256) for one in case.removal.tensors}
    found = {
        (original.component, original.name): (original.sha256, held[key(file, stored)])
        for file, part in binding.files.items()
        for stored, original in part.tensors.items()
    }
    for component, name in sorted(signed.keys() | found.keys()):
        same = signed.get((component, name)) == found.get((component, name))
        detail = "as signed" if same else "the tensor is not the one that was signed"
        yield Finding(check="delta", outcome=outcome(same), about=f"{component} {name}", detail=detail)


def full_weights(case: Case, binding: Binding, held: dict[str, str]) -> Iterator[Finding]:
    """Published weights hold the delta's tensors."""
    for file, part in binding.files.items():
        path = case.folder / file
        if not path.is_file():
            continue
        spans = read_layout(path).spans
        for stored in part.tensors:
            there = stored in spans and bytes_digest(path, spans[stored].start, spans[stored].end)
            same = there == held[key(file, stored)]
            detail = f"{stored} is the delta's" if same else f"{stored} is not the delta's"
            yield Finding(check="delta", outcome=outcome(same), about=file, detail=detail)


def applied(case: Case) -> Iterator[Finding]:
    """Base plus delta gives what was published, byte for byte, whether or not that lies here."""
    if case.base is None:
        detail = "without the base model (--base) nobody can tell whether base plus delta is what was published"
        yield Finding(check="delta", outcome="skipped", about=DELTA, detail=detail)
        return
    for patch in patches(case.base, case.folder / DELTA):
        yield applied_to(case, patch)


def applied_to(case: Case, patch: Patch) -> Finding:
    """One file."""
    signed = case.digests.get(patch.name)
    if signed is None:
        detail = "fits the base model; full weights were not published"
        return Finding(check="delta", outcome="ok", about=patch.name, detail=detail)
    same = segments_digest(patch.segments, patch.base, case.folder / DELTA) == signed
    detail = "is base plus delta" if same else "is not base plus delta"
    return Finding(check="delta", outcome=outcome(same), about=patch.name, detail=detail)


def bytes_digest(path: Path, start: int, end: int) -> str:
    """sha256 of a stretch of a file."""
    with path.open("rb") as file:
        return digest_of(chunks(file, start, end))
