"""What models of a fleet have in common: the properties that a selector names, and what makes their tensors equal."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from api_schemas.removals import Removal
from service.store.orm import LedgerEntry, ModelRegistration


def has_properties(
    row: ModelRegistration | None, labels: frozenset[str], family: str | None, encoder: str | None
) -> bool:
    """Return whether a registration has the labels, the family and a text encoder of this digest. None matches any."""
    digests = {one["digest"] for one in (row.encoders if row else None) or ()}
    return (
        labels <= set(row.labels if row else ())
        and family in (None, row.family if row else None)
        and (encoder is None or encoder in digests)
    )


def group_keys(session: Session, tenant: str, rows: Sequence[ModelRegistration]) -> dict[str, str]:
    """Return the group of each model: a digest over its family, its text encoders, its profile and its active removals.

    Models of one group get byte-identical tensors for the same removals. Without a CLIP text encoder, whose edit depends on
    nothing else, only models with equal weights do.
    """
    active: dict[str, list[Any]] = defaultdict(list)
    entries = select(LedgerEntry).where(
        LedgerEntry.tenant == tenant, LedgerEntry.until.is_(None), LedgerEntry.model.in_([row.id for row in rows])
    )
    for entry in session.scalars(entries):
        active[entry.model].append(canonical_removal(entry))
    return {
        row.id: _digest([row.family, _encoder_digests(row) or row.digest, row.profile, sorted(active[row.id])])
        for row in rows
    }


def canonical_removal(entry: LedgerEntry) -> str:
    """Return what determines the weights of a removal, as canonical JSON."""
    removal = Removal.model_validate(entry.removal)  # with the defaults of fields that were added since
    return json.dumps([removal.model_dump(mode="json"), entry.options], sort_keys=True)


def _encoder_digests(row: ModelRegistration) -> list[Any]:
    return sorted((encoder["component"], encoder["digest"]) for encoder in row.encoders or ())


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
