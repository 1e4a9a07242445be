"""The statements that attest an edit: how it was made (SLSA provenance), and what it removes (our own predicate).

Both are derived from the report and the request alone, so anyone who has the report can derive them again.
"""

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
from editor.io.digests import sha256_hex

OFFLINE_JOB_ID = "offline"
"""The job id of an edit that was not run by the service."""


def make_statements(report: AuditReport, parameters: dict[str, Any], published: bytes) -> list[Statement]:
    """Return both statements.

    Args:
        report: complete.
        parameters: SLSA's external parameters, such as the request.
        published: the bytes of ``report.json``, which cannot list its own digest.
    """
    subject = [*list_subjects(report), Subject(name="report.json", digest=make_digest(published))]
    predicates = {PROVENANCE: provenance_predicate(report, parameters), REMOVAL: as_json(removal_predicate(report))}
    return [Statement(subject=subject, predicate_type=kind, predicate=body) for kind, body in predicates.items()]


def list_subjects(report: AuditReport) -> Iterable[Subject]:
    """Return the published files that the report lists."""
    return (Subject(name=file.name, digest=Digest(sha256=file.sha256)) for file in report.artifacts)


def removal_predicate(report: AuditReport) -> ConceptRemoval:
    """Return our predicate, which summarises the report."""
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
    """Identify a removal by its digest, and by its name unless names are withheld."""
    digest = Digest(sha256=removal.withheld) if removal.withheld else make_digest(removal.concept.encode())
    return SignedRemoval(kind=removal.kind, digest=digest, concept=None if removal.withheld else removal.concept)


def signed_tensor(tensor: TensorRecord) -> SignedTensor:
    """Return a tensor's digests in the precision of the files."""
    return SignedTensor(
        component=tensor.component,
        name=tensor.name,
        base=Digest(sha256=tensor.base[tensor.dtype]),
        edited=Digest(sha256=tensor.edited[tensor.dtype]),
    )


def signed_gate(check: Check) -> SignedGate:
    """Return a gate with its numbers as decimal strings."""
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
    """Return the SHA-256 of what was fixed before the run: the policy's digest and every gate, as canonical JSON."""
    gates = [
        [check.name, check.removal, check.measure, check.comparator, repr(check.threshold), check.minimum_n]
        for check in validation.checks
    ]
    fixed = [validation.policy_sha256, repr(validation.confidence), gates]
    return sha256_hex(json.dumps(fixed, separators=(",", ":")))


def provenance_predicate(report: AuditReport, parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the SLSA provenance v1: inputs, builder and software."""
    builder = f"urn:expunge:builder:{'offline' if report.job_id == OFFLINE_JOB_ID else 'service'}"
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


def make_digest(content: bytes) -> Digest:
    """Return the SHA-256 in in-toto's form."""
    return Digest(sha256=sha256_hex(content))


def as_json(model: BaseModel) -> dict[str, Any]:
    """Return a model as JSON types, with camel-case keys."""
    dumped: dict[str, Any] = model.model_dump(mode="json", by_alias=True)
    return dumped
