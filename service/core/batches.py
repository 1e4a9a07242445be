"""Batches: each removal is validated on its own and against the others, and the valid ones become one edit."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import ValidationError
from sqlalchemy.orm import Session

from api_schemas.batches import BatchRequest
from api_schemas.edits import EditRequest, Removal
from api_schemas.problems import InvalidField, invalid_field, invalid_fields
from service.core import edits, ledger_conflicts, serializers
from service.core.app_state import AppState
from service.core.caller import Caller
from service.core.edits import Acceptance, PendingJob, Submission
from service.core.ledger_conflicts import REQUEST_LABEL
from service.core.quotas import JobQuota
from service.errors import InvalidRequest
from service.store import batches, ledgers
from service.store.audit import AuditEntry
from service.store.idempotency import Scope
from service.store.jobs import NewJob
from service.store.orm import Job, LedgerEntry

MAX_CONCEPT_CHARACTERS = 200
"""Characters of a concept that are stored with the item of a batch."""


@dataclass
class BatchCandidate:
    """A removal as it was sent, its parsed form while it is valid, and its errors."""

    position: int
    raw: Any
    removal: Removal | None = None
    errors: list[InvalidField] = field(default_factory=list)

    @property
    def concept(self) -> str:
        """The name of the concept, or an empty string if the removal is too malformed to have one."""
        named = self.raw.get("concept") if isinstance(self.raw, Mapping) else None
        if not isinstance(named, str):
            return ""
        return named[:MAX_CONCEPT_CHARACTERS].encode(errors="replace").decode().replace("\x00", " ")

    def reject(self, code: str, message: str, remedy: str, part: str = "concept") -> None:
        """Add an error and exclude the removal from the edit."""
        where = ("removals", self.position, part)
        self.errors.append(invalid_field(where, code=code, message=message, remedy=remedy))
        self.removal = None


@dataclass(frozen=True, eq=False)
class PendingBatch(PendingJob):
    """A POST of a batch. `candidates` are its removals after validation."""

    request: BatchRequest
    candidates: list[BatchCandidate]

    @property
    def fingerprint(self) -> str:
        """The digest of the canonical JSON."""
        canonical = json.dumps(self.request.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return f"sha256:{hashlib.sha256(canonical.encode(errors='surrogatepass')).hexdigest()}"

    def admit(self, session: Session, quota: JobQuota) -> NewJob:
        """Raise `InvalidRequest`, `LedgerConflict`, `TooManyJobs`."""
        reject_conflicts(ledgers.active_entries(session, self.caller.tenant, self.request.model), self.candidates)
        edit = _build_edit_request(self.request, self.candidates)
        edits.check_admission(session, quota, edit, self.caller)
        return self.new_job(edit)

    def complete(self, session: Session, job: Job, now: datetime) -> Acceptance:
        """Store the items and reply with the batch."""
        batch = batches.create(session, self.caller.tenant, job.id, now=now)
        places = iter(range(len(self.candidates)))
        for item in self.candidates:
            errors = [error.model_dump() for error in item.errors]
            batches.add_item(
                session, batch, item.position, item.concept, next(places) if item.removal else None, errors
            )
        session.flush()
        accepted = sum(item.removal is not None for item in self.candidates)
        details = {"total": len(self.candidates), "accepted": accepted, "edit": job.id}
        entry = AuditEntry(self.caller.tenant, self.caller.key_id, "batch.create", batch.id, details)
        return Acceptance(serializers.batch(session, batch).model_dump_json(), [edits.creation_entry(job), entry])


def submit(app_state: AppState, request: BatchRequest, caller: Caller, scope: Scope | None) -> Submission:
    """Queue one edit for all valid removals of a batch.

    Raises:
        InvalidRequest: No removal is valid, or one is invalid and `all_or_nothing` is set.
        UnknownModel, ModelNotAdmitted, TooManyJobs, IdempotencyKeyReused, IdempotencyConflict: As for a single edit.
    """
    app_state.registry.get_admitted(request.model)
    return edits.submit(app_state, PendingBatch(caller, scope, request, validate_removals(app_state, request)))


def validate_removals(app_state: AppState, request: BatchRequest) -> list[BatchCandidate]:
    """Parse the removals, and reject those that are malformed, duplicates or too long for the model."""
    items = [_parse_removal(position, raw) for position, raw in enumerate(request.removals)]
    _reject_duplicates(items)
    _reject_too_long(app_state, request, items)
    return items


def reject_conflicts(active: Sequence[LedgerEntry], items: Sequence[BatchCandidate]) -> None:
    """Reject removals that contradict the ledger's active removals or an earlier removal of the batch."""
    while True:
        accepted = [item for item in items if item.removal]
        conflicts = ledger_conflicts.find_conflicts(active, [item.removal for item in accepted if item.removal])
        if not conflicts:
            return
        for conflict in conflicts:
            labels = (conflict.left.label, conflict.right.label)
            last = accepted[max(_index_of(label) for label in labels if label.startswith(REQUEST_LABEL))]
            if last.removal:
                last.reject(conflict.kind, conflict.message, conflict.remedy)


def _index_of(label: str) -> int:
    return int(label.removeprefix(f"{REQUEST_LABEL}[").rstrip("]"))


def _parse_removal(position: int, raw: Any) -> BatchCandidate:
    item = BatchCandidate(position, raw)
    try:
        item.removal = Removal.model_validate(raw)
    except ValidationError as error:
        located = (dict(one, loc=("removals", position, *one["loc"])) for one in error.errors())
        item.errors = invalid_fields(located)
    return item


def _reject_duplicates(items: Iterable[BatchCandidate]) -> None:
    first: dict[tuple[str, str], int] = {}
    for item in items:
        if item.removal and (earlier := first.setdefault(item.removal.key, item.position)) != item.position:
            item.reject("duplicate", f"repeats removals[{earlier}]", "Send each removal once.")


def _reject_too_long(app_state: AppState, request: BatchRequest, items: Iterable[BatchCandidate]) -> None:
    for item in items:
        if item.removal is None:
            continue
        single = EditRequest(model=request.model, removals=[item.removal])
        try:
            app_state.token_limits.check(single)
        except InvalidRequest as error:
            for invalid in error.errors:
                item.reject(invalid.code, invalid.message, invalid.remedy, invalid.field.removeprefix("removals[0]."))


def _build_edit_request(request: BatchRequest, items: Sequence[BatchCandidate]) -> EditRequest:
    """Return the edit that makes all valid removals. Raises `InvalidRequest`."""
    accepted = [item.removal for item in items if item.removal]
    errors = [error for item in items for error in item.errors]
    if not accepted or (errors and request.all_or_nothing):
        raise InvalidRequest(
            f"{len(items) - len(accepted)} of {len(items)} removals are invalid.",
            remedy="Correct the named fields.",
            errors=errors,
        )
    shared = request.model_dump(include={"model", "options", "validation", "seed", "metadata"})
    try:
        return EditRequest.model_validate(shared | {"removals": [one.model_dump() for one in accepted], "ledger": True})
    except ValidationError as error:
        raise InvalidRequest("The batch is invalid.", errors=invalid_fields(error.errors())) from error
