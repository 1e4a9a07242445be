"""The statement of a fleet: one signed in-toto statement over the manifests of all its edits."""

import secrets
from collections.abc import Mapping

from api_schemas.attestation import FLEET, Digest, FleetRemoval, SignedRemoval, Statement, Subject
from api_schemas.edits import Removal
from editor.io.digests import salted_digest
from editor.publishing.attestation.statements import as_json, make_digest

TARGETS = "targets"
"""The subject that stands for the list of targets."""


def fleet_statement(predicate: FleetRemoval, manifests: Mapping[str, str]) -> Statement:
    """Return the statement.

    Args:
        manifests: `model@revision` -> sha256 of the manifest of its edit, which lists all files with their digests.
    """
    listed = "".join(target.model_dump_json(by_alias=True) + "\n" for target in predicate.targets)
    subjects = [Subject(name=TARGETS, digest=make_digest(listed.encode()))]
    subjects += [Subject(name=name, digest=Digest(sha256=sha256)) for name, sha256 in sorted(manifests.items())]
    return Statement(subject=subjects, predicate_type=FLEET, predicate=as_json(predicate))


def signed_removals(removals: list[Removal], withhold_names: bool) -> list[SignedRemoval]:
    """Identify the removals by digest; names that are withheld are salted, so that they cannot be guessed."""
    salt = secrets.token_hex(32)
    return [
        SignedRemoval(
            kind=removal.kind,
            digest=Digest(sha256=salted_digest(salt, removal.concept))
            if withhold_names
            else make_digest(removal.concept.encode()),
            concept=None if withhold_names else removal.concept,
        )
        for removal in removals
    ]
