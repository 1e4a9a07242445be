"""Sorting a batch: each removal is looked at by itself and beside the others; what can be done becomes one edit."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError
from sqlalchemy.orm import Session

from api_schemas.batches import CSV_COLUMNS, BatchRequest
from api_schemas.edits import MOST_REMOVALS, EditRequest, Removal
from api_schemas.problems import InvalidField, invalid_field, invalid_fields
from service.core import edits, ledger_conflicts, serializers
from service.core.app_state import Backend
from service.core.caller import Caller
from service.core.edits import ACCEPTED, Submission
from service.core.ledger_conflicts import NEW
from service.errors import InvalidRequest, MalformedCsv
from service.store import audit, batches
from service.store import ledgers as ledger_store
from service.store.idempotency import Reply, Scope
from service.store.orm import LedgerEntry

SEVERAL = {"aliases", "titles", "preserve", "exclude"}
SEPARATOR = "|"
SHOWN = 200


@dataclass
class Item:
    """One removal as it was sent, and what is wrong with it."""

    position: int
    sent: Any
    removal: Removal | None = None
    errors: list[InvalidField] = field(default_factory=list)

    @property
    def concept(self) -> str:
        """As far as it can be told."""
        named = self.sent.get("concept") if isinstance(self.sent, Mapping) else None
        return named[:SHOWN].encode(errors="replace").decode().replace("\x00", " ") if isinstance(named, str) else ""

    def refuse(self, code: str, message: str, remedy: str, part: str = "concept") -> None:
        """Take it out."""
        where = ("removals", self.position, part)
        self.errors.append(invalid_field(where, code=code, message=message, remedy=remedy))
        self.removal = None


def submit(backend: Backend, request: BatchRequest, caller: Caller, scope: Scope | None) -> Submission:
    """Queue one edit for all that can be done.

    Raises:
        InvalidRequest: nothing can be, or something can't and `all_or_nothing` is set.
        UnknownModel, TooManyJobs, IdempotencyKeyReused, IdempotencyConflict: as for an edit.
    """
    fingerprint = edits.digest_of(request)
    backend.registry.get(request.model)

    def work(session: Session) -> Reply:
        held = ledger_store.active(session, caller.tenant, request.model)
        found = sort(backend, request, held)
        edit = _edit(request, found)
        job = edits.accept(backend, session, edit, caller)
        now = backend.clock()
        batch = batches.create(session, caller.tenant, job.id, now=now)
        places = iter(range(len(found)))
        for item in found:
            errors = [error.model_dump() for error in item.errors]
            batches.add(session, batch, item.position, item.concept, next(places) if item.removal else None, errors)
        session.flush()
        counted = {"total": len(found), "accepted": len(edit.removals), "edit": job.id}
        audit.record(session, caller.tenant, caller.key_id, "batch.create", batch.id, now=now, **counted)
        return Reply(fingerprint, ACCEPTED, serializers.batch(session, batch).model_dump_json())

    return edits.once(backend, work, fingerprint, scope)


def sort(backend: Backend, request: BatchRequest, held: Sequence[LedgerEntry]) -> list[Item]:
    """What is wrong with each removal, if anything is: by itself, beside earlier ones, beside what holds."""
    items = [_read(position, sent) for position, sent in enumerate(request.removals)]
    _refuse_repeated(items)
    _refuse_long(backend, request, items)
    while contradictions := ledger_conflicts.contradictions(held, [item.removal for item in items if item.removal]):
        accepted = [item for item in items if item.removal]
        for conflict in contradictions:
            labels = (conflict.left.label, conflict.right.label)
            last = max(int(label.removeprefix(f"{NEW}[").rstrip("]")) for label in labels if label.startswith(NEW))
            if accepted[last].removal:
                accepted[last].refuse(conflict.kind, conflict.message, conflict.remedy)
    return items


def _read(position: int, sent: Any) -> Item:
    item = Item(position, sent)
    try:
        item.removal = Removal.model_validate(sent)
    except ValidationError as error:
        located = (dict(one, loc=("removals", position, *one["loc"])) for one in error.errors())
        item.errors = invalid_fields(located)
    return item


def _refuse_repeated(items: Iterable[Item]) -> None:
    first: dict[tuple[str, str], int] = {}
    for item in items:
        if item.removal and (earlier := first.setdefault(item.removal.key, item.position)) != item.position:
            item.refuse("duplicate", f"is the same as removals[{earlier}]", "Send it once.")


def _refuse_long(backend: Backend, request: BatchRequest, items: Iterable[Item]) -> None:
    for item in items:
        if item.removal is None:
            continue
        alone = EditRequest(model=request.model, removals=[item.removal])
        try:
            backend.phrases.check(alone)
        except InvalidRequest as error:
            for found in error.errors:
                item.refuse(found.code, found.message, found.remedy, found.field.removeprefix("removals[0]."))


def _edit(request: BatchRequest, items: Sequence[Item]) -> EditRequest:
    """The one request that makes all of them. Raises `InvalidRequest`."""
    accepted = [item.removal for item in items if item.removal]
    refused = [error for item in items for error in item.errors]
    if not accepted or (refused and request.all_or_nothing):
        raise InvalidRequest(
            f"{len(items) - len(accepted)} of {len(items)} removals can't be done.",
            remedy="Correct the named fields.",
            errors=refused,
        )
    shared = request.model_dump(include={"model", "options", "validation", "seed", "metadata"})
    try:
        return EditRequest.model_validate(shared | {"removals": [one.model_dump() for one in accepted], "ledger": True})
    except ValidationError as error:
        raise InvalidRequest("the batch makes no sense as a whole.", errors=invalid_fields(error.errors())) from error


def from_csv(content: bytes) -> list[dict[str, Any]]:
    """The removals of a CSV upload: UTF-8, a header with some of `CSV_COLUMNS`, a row each.

    Cells are text and nothing else: what would be a formula in a spreadsheet is a name here.

    Raises:
        MalformedCsv: it is none, or has unknown columns, or too many rows.
    """
    try:
        rows = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        header = [name.strip() for name in next(rows, [])]
        _check_header(header)
        found = []
        for number, row in enumerate((row for row in rows if any(cell.strip() for cell in row)), start=1):
            _check_row(header, row, number)
            found.append(_removal(dict(zip(header, row, strict=True))))
    except (UnicodeDecodeError, csv.Error) as error:
        reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        raise MalformedCsv(f"the upload cannot be read: {reason}.", remedy="Send RFC 4180 CSV in UTF-8.") from error
    return found


def _check_header(header: Sequence[str]) -> None:
    unknown = [name for name in header if name not in CSV_COLUMNS]
    if "concept" not in header or unknown or len(set(header)) < len(header):
        raise MalformedCsv("the first line must name the columns, each once.", remedy=f"Use {', '.join(CSV_COLUMNS)}.")


def _check_row(header: Sequence[str], row: Sequence[str], number: int) -> None:
    if number > MOST_REMOVALS:
        raise MalformedCsv(f"there are more than {MOST_REMOVALS} rows.", remedy="Send several batches.")
    if len(row) != len(header):
        raise MalformedCsv(f"row {number} has {len(row)} cells, not {len(header)}.", remedy="Quote cells with commas.")


def _removal(cells: Mapping[str, str]) -> dict[str, Any]:
    filled = {name: cell.strip() for name, cell in cells.items() if cell.strip()}
    return {
        name: [part.strip() for part in cell.split(SEPARATOR)] if name in SEVERAL else cell
        for name, cell in filled.items()
    }
