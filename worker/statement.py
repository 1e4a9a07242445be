"""Writes the signed statement of a fleet from its targets in the database."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.orm import Session

from api_schemas.attestation import FleetRemoval, SignedTarget
from api_schemas.fleets import FleetRequest
from service.store import fleets
from service.store.database import Database
from service.store.orm import Fleet, FleetTarget, Job, ModelRegistration

if TYPE_CHECKING:
    from editor.publishing.export import ArtifactFile

PHASES = ("publish",)
STATEMENT, ENVELOPE = "statement.json", "statement.intoto.jsonl"
KIND = "statement"


def write_statement(
    database: Database, fleet_id: str, workdir: Path, signing_dir: Path | None, now: datetime
) -> tuple["ArtifactFile", ...]:
    """Write the statement and, if there is a signing key, the envelope. Returns the files."""
    from editor.publishing.attestation.dsse import sign_statement, to_json_lines
    from editor.publishing.attestation.fleet import fleet_statement, signed_removals
    from editor.publishing.attestation.keys import open_signer
    from editor.publishing.export import ArtifactFile

    with database.read() as session:
        fleet = session.get_one(Fleet, fleet_id)
        rows = fleets.targets(session, fleet_id)
        request = FleetRequest.model_validate(fleet.request)
        targets, manifests = _targets(session, rows)
    predicate = FleetRemoval(
        fleet=fleet.id,
        created_at=fleet.created_at,
        signed_at=now,
        selector=request.selector.model_dump(mode="json", exclude_defaults=True),
        removals=signed_removals(request.removals, request.withhold_names),
        targets=targets,
    )
    statement = fleet_statement(predicate, manifests)
    (workdir / STATEMENT).write_text(statement.model_dump_json(by_alias=True, indent=1))
    files = [ArtifactFile(STATEMENT, workdir / STATEMENT, "application/json", KIND)]
    if signer := open_signer(signing_dir, now):
        (workdir / ENVELOPE).write_bytes(to_json_lines([sign_statement(statement, signer)]))
        files.insert(0, ArtifactFile(ENVELOPE, workdir / ENVELOPE, "application/jsonl", KIND))
    return tuple(files)


def _targets(session: Session, rows: Sequence[FleetTarget]) -> tuple[list[SignedTarget], dict[str, str]]:
    """Return the targets, and the digest of the manifest of each edit that added a revision, by model and revision."""
    edits = [row.edit_id for row in rows if row.edit_id]
    found = {job.id: job for job in session.scalars(select(Job).where(Job.id.in_(edits)))}
    revisions, revocations = fleets.revisions_of(session, rows), fleets.revocations_of(session, rows)
    models = select(ModelRegistration).where(ModelRegistration.id.in_([row.model for row in rows]))
    encoders = {model.id: model.encoders for model in session.scalars(models)}
    targets, manifests = [], {}
    for row in rows:
        job, revision = found.get(row.edit_id or ""), revisions.get(row.edit_id or "")
        verdict = found[row.carried_from].verdict if row.carried_from in found else job.verdict if job else None
        digests = {one["component"]: one["digest"] for one in encoders.get(row.model) or ()}
        targets.append(
            SignedTarget(
                model=row.model,
                state=row.state,
                edit=row.edit_id,
                revision=revision,
                application=fleets.application(row),
                carried_from=row.carried_from,
                verdict=verdict,
                revocation=revocations.get(row.edit_id or ""),
                encoders=digests,
            )
        )
        if revision and job and job.manifest_sha256:
            manifests[f"{row.model}@{revision}"] = job.manifest_sha256
    return targets, manifests
