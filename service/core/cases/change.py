"""One change of one case: a transaction that locks it, checks version and state, and leaves event, webhook and audit line.

The audit log and webhooks name ids, states and actors, never what is sealed.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property

from sqlalchemy.orm import Session

from api_schemas.cases import CaseState
from api_schemas.problems import invalid_field
from service.core.app_state import AppState
from service.core.caller import Caller
from service.core.cases.bases import CaseRules, load_rules
from service.errors import CaseChanged, CaseClaimed, CaseErased, NotFound, WrongCaseState
from service.store import audit, cases, webhooks
from service.store.audit import AuditEntry
from service.store.cases_keys import CaseKey
from service.store.cases_orm import Case, CaseDecision
from service.store.failpoints import failpoint

SERVICE = Caller("service", "", frozenset())
"""The actor of what the service does by itself."""
MAX_REPORTED_CHANGES = 20


@dataclass
class CaseChange:
    """A case that is locked in a transaction, and who changes it."""

    app_state: AppState
    session: Session
    case: Case
    actor: Caller
    now: datetime
    actions: list[str] = field(default_factory=list)
    """What was done, for the audit log."""
    audit_entries: list[AuditEntry] = field(default_factory=list)
    """Further entries of the audit log, such as those of edits that were queued."""

    @cached_property
    def rules(self) -> CaseRules:
        """The operator's bases and templates."""
        return load_rules(self.app_state.settings.case_bases)

    @cached_property
    def key(self) -> CaseKey:
        """The data key. Raises `CaseErased`, `SecretsKeyError`."""
        key = CaseKey.unwrap(self.case, self.app_state.settings.secret_box())
        if key is None:
            raise case_erased(self.case)
        return key

    @property
    def last_decision(self) -> CaseDecision | None:
        """The decision that applies at present."""
        return next(reversed(cases.decisions(self.session, self.case.id)), None)

    def note(self, kind: str, detail: str | None = None) -> None:
        """Append an event. Its detail is sealed."""
        if not self.actions:
            self.case.version += 1
        self.actions.append(kind)
        sealed = self.key.seal(detail) if detail else None
        cases.append_event(self.session, self.case, self.actor.key_id, kind, self.now, sealed=sealed)

    def move(self, state: CaseState, kind: str | None = None, detail: str | None = None) -> None:
        """Change the state, append an event and notify webhooks."""
        if not self.actions:
            self.case.version += 1
        self.actions.append(kind or state)
        self.session.flush()  # The database checks targets and statements when the state changes.
        before, self.case.state = self.case.state, state
        self.session.flush()
        sealed = self.key.seal(detail) if detail else None
        cases.append_event(
            self.session, self.case, self.actor.key_id, kind or state, self.now, from_state=before, sealed=sealed
        )
        if before != state:
            webhooks.enqueue_case_deliveries(self.session, self.case, state, now=self.now)

    def require_state(self, *states: CaseState) -> None:
        """Raise `WrongCaseState` unless the case is in one of the states."""
        if self.case.state not in states:
            raise WrongCaseState(
                f"{self.case.reference} is {self.case.state}; this needs {' or '.join(states)}.",
                remedy="Read the case again to see what can be done with it.",
            )

    def require_version(self, version: int) -> None:
        """Raise `CaseChanged` with what has changed unless the version is current."""
        if version == self.case.version:
            return
        since = cases.events_since(self.session, self.case.id, version)[-MAX_REPORTED_CHANGES:]
        raise CaseChanged(
            f"{self.case.reference} is at version {self.case.version}, and the request is based on version {version}.",
            remedy="Read what has changed, and decide again with the current version.",
            errors=[
                invalid_field(
                    ("version",),
                    code=event.kind,
                    message=f"{event.at:%Y-%m-%d %H:%M:%S} UTC, by {event.actor}: {event.kind}, now {event.to_state}",
                    remedy="",
                )
                for event in since
            ],
        )

    def require_unclaimed(self) -> None:
        """Raise `CaseClaimed` if somebody else works on the case; the caller's own claim is renewed."""
        if is_claimed(self.case, self.now) and self.case.claimed_by != self.actor.key_id:
            raise CaseClaimed(
                f"{self.case.reference} is claimed by {self.case.claimed_by} until {self.case.claimed_until:%H:%M} UTC.",
                remedy="Wait, choose another case, or claim it with `takeover`.",
            )
        if self.case.claimed_by == self.actor.key_id:
            self.case.claimed_until = claim_end(self.app_state, self.now)

    def finish(self) -> None:
        """Update the due time and append to the audit log, as the last part of the transaction."""
        if not self.actions:
            return
        self.session.flush()
        self.session.refresh(self.case, ["deadlines"])
        cases.update_due_at(self.case)
        details = {"actions": self.actions, "state": self.case.state, "version": self.case.version}
        entry = AuditEntry(self.case.tenant, self.actor.key_id, f"case.{self.actions[0]}", self.case.id, details)
        audit.record_all(self.session, [entry, *self.audit_entries], now=self.now)


def is_claimed(case: Case, now: datetime) -> bool:
    """Return whether somebody's claim of a case is valid."""
    return case.claimed_until is not None and case.claimed_until > now


def claim_end(app_state: AppState, now: datetime) -> datetime:
    """Return until when a claim that is made now is valid."""
    return now + timedelta(seconds=app_state.settings.case_claim_seconds)


@contextmanager
def changing(
    app_state: AppState,
    caller: Caller,
    case_id: str,
    version: int | None = None,
    states: Sequence[CaseState] = (),
    *,
    claimed: bool = True,
) -> Iterator[CaseChange]:
    """Context manager: change a case of the caller's tenant in one transaction.

    Args:
        version: The version that the caller knows; None if any will do.
        states: States that allow the change; empty if all do.
        claimed: Whether the claim of somebody else forbids the change.

    Raises:
        NotFound, CaseChanged, CaseClaimed, WrongCaseState: Nothing was changed.
    """
    with app_state.database.write() as session:
        change = open_change(app_state, session, caller, case_id)
        if version is not None:
            change.require_version(version)
        if claimed:
            change.require_unclaimed()
        if states:
            change.require_state(*states)
        yield change
        change.finish()
        failpoint("case.written")
    failpoint("case.committed")


def open_change(app_state: AppState, session: Session, caller: Caller, case_id: str) -> CaseChange:
    """Lock a case of the caller's tenant, or of any tenant for the service itself. Raises `NotFound`."""
    case = cases.lock(session, None if caller is SERVICE else caller.tenant, case_id)
    if case is None:
        raise case_not_found(case_id)
    return CaseChange(app_state, session, case, caller, app_state.clock())


def case_not_found(case_id: str) -> NotFound:
    """Return the error for a case that does not exist or belongs to another tenant."""
    return NotFound(f'There is no case "{case_id}".', remedy="GET /v1/cases lists your cases.")


def case_erased(case: Case) -> CaseErased:
    """Return the error for a request that needs personal data that was erased."""
    return CaseErased(f"The personal data of {case.reference} was erased.", remedy="Open a new case if you need one.")
