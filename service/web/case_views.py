"""How pages show cases: the time that is left in words and shape, states, and what can be done next."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from api_schemas.cases import Case, CaseDeadline
from service.core.caller import Caller
from service.web.filters import format_duration

SOON = timedelta(hours=24)
DAY = timedelta(days=1)
STATE_SHAPES = {
    "decided": "running",
    "applying": "running",
    "at_risk": "warning",
    "contested": "warning",
    "incomplete": "warning",
    "in_force": "passed",
    "restored": "canceled",
    "refused": "canceled",
    "closed": "canceled",
    "withdrawn": "canceled",
    "void": "canceled",
    "merged": "canceled",
    "queued": "running",
    "revoking": "running",
    "withheld": "warning",
    "ineffective": "failed",
    "conflict": "failed",
    "revoked": "canceled",
    "missed": "failed",
    "met": "passed",
}
"""The class of a state's badge, which gives it a shape and a colour; the word is always there too."""

SOURCES: dict[str, str] = {
    "art16": "a notice",
    "trusted_flagger": "a trusted flagger",
    "order": "an order",
    "subject": "the person concerned",
    "own": "our own initiative",
}


ACTIONS: dict[str, str] = {
    "erase": "erase: remove the concept from the models",
    "withhold": "withhold: stop serving the models",
    "refuse": "refuse: reject the notice",
    "none": "none: do nothing",
}
"""What a decision does, by its action."""

DEADLINES: dict[str, str] = {
    "action": "Act by",
    "restore_not_before": "Restore not before",
    "restore_not_after": "Restore not after",
    "complaint_window": "Complaints until",
    "retention": "Erase personal data on",
}
"""What is due, by the kind of a deadline."""

EVENTS: dict[str, str] = {
    "received": "notice received",
    "opened": "case opened",
    "read": "notice read",
    "proposed": "decision proposed",
    "approved": "decision approved",
    "undone": "decision undone",
    "applied": "decision applied",
    "held": "restoration held",
    "rejected": "counter-notice or complaint rejected",
    "erased": "personal data erased",
    "updated": "case changed",
    "statement": "statement of reasons issued",
}
"""Events whose kind alone does not say what happened."""

PARTS: dict[str, str] = {
    "notifier.name": "name of the sender",
    "notifier.email": "e-mail address of the sender",
    "notifier.address": "postal address of the sender",
    "notifier.phone": "telephone number of the sender",
    "statements.good_faith": "declaration of good faith",
    "statements.accuracy": "declaration of accuracy",
    "statements.authority": "declaration of authority to act",
    "statements.perjury": "declaration under penalty of perjury",
    "statements.no_consent": "declaration that there was no consent",
    "statements.jurisdiction": "consent to jurisdiction",
    "files": "evidence",
}
"""Parts of a notice whose field is not what people call them."""


@dataclass(frozen=True)
class Badge:
    """A word, and the class that gives it its shape."""

    word: str
    shape: str


def state_badge(state: str) -> Badge:
    """Return the badge of a state of a case, target or deadline."""
    return Badge(state.replace("_", " "), STATE_SHAPES.get(state, ""))


def due_badge(due_at: datetime | None, now: datetime) -> Badge:
    """Return how much time is left, by the server's clock."""
    if due_at is None:
        return Badge("nothing due", "canceled")
    left = due_at - now
    if left <= timedelta(0):
        return Badge(f"overdue by {in_words(-left)}", "failed")
    return Badge(f"due in {in_words(left)}", "warning" if left < SOON else "")


def in_words(span: timedelta) -> str:
    """Return a duration such as `3 days`, `2 h 5 min` or `40 s`."""
    if span >= 2 * DAY:
        return f"{span.days} days"
    return format_duration(span.total_seconds())


def deadline_badge(deadline: CaseDeadline, now: datetime) -> Badge:
    """Return the badge of a deadline: its status, or the time that is left."""
    if deadline.status != "running":
        return state_badge(deadline.status)
    if deadline.kind in ("action", "restore_not_after"):
        return due_badge(deadline.due_at, now)
    return Badge(f"ends in {in_words(max(deadline.due_at - now, timedelta(0)))}", "")


def missing_parts(fields: Sequence[str]) -> list[str]:
    """Return what a notice lacks, in words."""
    return [PARTS.get(field, field.replace("_", " ")) for field in fields]


DECIDABLE = ("open", "applying", "at_risk", "in_force", "restored")


def possible_actions(case: Case, caller: Caller) -> Sequence[str]:
    """Return what the caller can do with a case in its present state."""
    pending, writes, reviews = case.pending_decision, "cases:write" in caller.scopes, "cases:review" in caller.scopes
    conditions = {
        "decide": writes and pending is None and case.state in DECIDABLE,
        "undo": writes and pending is not None,
        "approve": reviews and pending is not None and pending.awaits_approval and pending.by != caller.key_id,
        "counter_notice": writes and case.state in ("at_risk", "in_force", "contested"),
        "complaint": writes and case.state in ("in_force", "refused", "restored", "contested"),
        "hold": writes and case.state == "contested" and not case.held,
        "end_hold": writes and case.state == "contested" and case.held,
        "resolve": reviews and case.state == "contested",
        "restore": reviews and case.state in ("applying", "at_risk", "in_force", "contested"),
        "notice": writes and case.state in ("received", "incomplete", "open"),
        "withdraw": writes and case.state in ("received", "incomplete", "open", "decided"),
        "erase": "cases:operate" in caller.scopes and case.state in ("closed", "withdrawn", "void", "merged"),
    }
    return [name for name, possible in conditions.items() if possible]
