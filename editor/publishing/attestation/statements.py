"""What is attested of an edit: how it was made (SLSA provenance), and what it removes and keeps (our own predicate).

Both are made of the report and the request alone, so a verifier who has the report can make them again.
"""

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel

from api_schemas.attestation import (
    BUILD_TYPE,
    PROVENANCE,
    REMOVAL,
    ConceptRemoval,
    Digest,
    SignedGate,
    SignedRemoval,
    SignedTensor,
    Statement,
    Subject,
)
from api_schemas.report import AuditReport, Check, RemovalRecord, TensorRecord, Validation

OFFLINE = "offline"
"""The job's id where somebody ran the edit by hand."""


def statements(report: AuditReport, parameters: dict[str, Any], published: bytes) -> list[Statement]:
    """Both statements.

    Args:
        report: complete.
        parameters: what was asked for: SLSA's external parameters.
        published: the bytes of ``report.json``, which no report can list itself.
    """
    subject = [*subjects(report), Subject(name="report.json", digest=digest_of(published))]
    predicates = {PROVENANCE: provenance(report, parameters), REMOVAL: plain(removal_predicate(report))}
    return [Statement(subject=subject, predicate_type=kind, predicate=body) for kind, body in predicates.items()]


def subjects(report: AuditReport) -> Iterable[Subject]:
    """Every published file that the report lists."""
    return (Subject(name=file.name, digest=Digest(sha256=file.sha256)) for file in report.artifacts)


def removal_predicate(report: AuditReport) -> ConceptRemoval:
    """Our predicate."""
    checks = report.validation.checks if report.validation else []
    return ConceptRemoval(
        job_id=report.job_id,
        created_at=report.created_at,
        base_model=report.model.id,
        base_files={name: Digest(sha256=digest) for name, digest in report.model.files.items()},
        removals=[signed_removal(removal) for removal in report.removals],
        tensors=[signed_tensor(tensor) for tensor in report.tensors],
        policy=Digest(sha256=policy_digest(report.validation)) if report.validation else None,
        gates=[signed_gate(check) for check in checks],
        verdict=report.verdict,
        non_claims=[*report.limits, *report.untested],
    )


def signed_removal(removal: RemovalRecord) -> SignedRemoval:
    """Named by its digest, and in words where names are not withheld."""
    digest = Digest(sha256=removal.withheld) if removal.withheld else digest_of(removal.concept.encode())
    return SignedRemoval(kind=removal.kind, digest=digest, concept=None if removal.withheld else removal.concept)


def signed_tensor(tensor: TensorRecord) -> SignedTensor:
    """In the precision of the files."""
    return SignedTensor(
        component=tensor.component,
        name=tensor.name,
        base=Digest(sha256=tensor.base[tensor.dtype]),
        edited=Digest(sha256=tensor.edited[tensor.dtype]),
    )


def signed_gate(check: Check) -> SignedGate:
    """With decimal strings for numbers."""
    return SignedGate(
        name=check.name,
        removal=check.removal,
        comparator=check.comparator,
        threshold=repr(check.threshold),
        measured=repr(check.measured.value),
        sample_size=check.measured.n,
        outcome=check.outcome,
    )


def policy_digest(validation: Validation) -> str:
    """SHA-256 over what was fixed before the run: the policy's own digest, and every gate that it made, as canonical JSON."""
    gates = [
        [check.name, check.removal, check.measure, check.comparator, repr(check.threshold), check.minimum_n]
        for check in validation.checks
    ]
    fixed = [validation.policy_sha256, repr(validation.confidence), gates]
    return hashlib.sha256(json.dumps(fixed, separators=(",", ":")).encode()).hexdigest()


def provenance(report: AuditReport, parameters: dict[str, Any]) -> dict[str, Any]:
    """SLSA provenance v1: what went in, and who made it."""
    builder = f"urn:expunge:builder:{'offline' if report.job_id == OFFLINE else 'service'}"
    return {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": parameters,
            "internalParameters": {"software": report.software},
            "resolvedDependencies": [
                {"uri": f"urn:expunge:model:{report.model.id}", "name": name, "digest": {"sha256": digest}}
                for name, digest in report.model.files.items()
            ],
        },
        "runDetails": {
            "builder": {"id": builder, "version": {"expunge": report.software.get("expunge", "")}},
            "metadata": {"invocationId": report.job_id, "startedOn": report.created_at.isoformat()},
        },
    }


def digest_of(content: bytes) -> Digest:
    """SHA-256 as in-toto writes it."""
    return Digest(sha256=hashlib.sha256(content).hexdigest())


def plain(model: BaseModel) -> dict[str, Any]:
    """A model as JSON's own types, in camel case."""
    dumped: dict[str, Any] = model.model_dump(mode="json", by_alias=True)
    return dumped
