"""Takedown cases as the API returns them: their targets, deadlines, decisions, statements and events."""

from datetime import datetime
from typing import Literal, TypeAlias, get_args

from pydantic import Field

from api_schemas.base import Resource
from api_schemas.cases_requests import Complaint, CounterNotice, Notice
from api_schemas.report import Verdict

CaseState: TypeAlias = Literal[
    "received",
    "incomplete",
    "open",
    "decided",
    "applying",
    "at_risk",
    "in_force",
    "contested",
    "restored",
    "refused",
    "closed",
    "withdrawn",
    "void",
    "merged",
]
CASE_STATES: tuple[CaseState, ...] = get_args(CaseState)
ENDED_STATES: tuple[CaseState, ...] = ("closed", "withdrawn", "void", "merged")
TargetState: TypeAlias = Literal[
    "planned", "queued", "in_force", "ineffective", "conflict", "withheld", "revoking", "revoked"
]
Action: TypeAlias = Literal["erase", "withhold", "refuse", "none"]
Source: TypeAlias = Literal["art16", "trusted_flagger", "order", "subject", "own"]
CasePriority: TypeAlias = Literal["high", "normal", "low"]
DeadlineKind: TypeAlias = Literal["action", "restore_not_before", "restore_not_after", "complaint_window", "retention"]
DeadlineStatus: TypeAlias = Literal["running", "met", "missed"]


class CaseTarget(Resource):
    """One checkpoint that a case is about, and what has been done to it. `ineffective` is not done."""

    id: str
    model: str = Field(description="The base model whose ledger the decision changes.")
    state: TargetState
    edit: str | None = Field(description="The edit that removes the concept, once it is queued.")
    revocation: str | None = Field(description="The job that restores the weights.")
    revision: int | None = Field(description="The ledger revision that the edit made.")
    verdict: Verdict | None
    in_force_at: datetime | None
    withheld_at: datetime | None = Field(description="Since when the Hub routes do not serve the checkpoint.")
    restore_not_before: datetime | None = Field(description="Earliest time of a restoration; null: no counter-notice.")


class CaseDeadline(Resource):
    """A deadline. It is met, extended or missed, and never deleted."""

    id: str
    kind: DeadlineKind
    basis: str
    rule: str = Field(examples=["48 hours"])
    rule_version: str = Field(description="Version of the operator's file of bases that the rule is from.")
    started_at: datetime
    due_at: datetime
    status: DeadlineStatus
    met_at: datetime | None
    missed_at: datetime | None
    extended_at: datetime | None
    reason: str | None = Field(description="Why the deadline was extended.")


class CaseClaim(Resource):
    """Who is working on a case, and until when nobody else may claim it."""

    by: str = Field(description="Id of an API key.")
    until: datetime


class PendingDecision(Resource):
    """A decision that can still be undone: it waits for a second pair of eyes, or in the outbox."""

    id: str
    action: Action
    by: str
    at: datetime
    approved_by: str | None
    awaits_approval: bool
    applies_at: datetime | None = Field(description="When it takes effect; null while it awaits approval.")


class CaseUrls(Resource):
    """URLs of what belongs to a case."""

    self: str
    events: str
    decisions: str
    personal_data: str
    statement: str


class Case(Resource):
    """A takedown case. Names, texts and contacts are not in it: `urls.personal_data` has them."""

    object: Literal["case"] = "case"
    id: str
    reference: str = Field(examples=["C-2026-00042"])
    bases: list[str]
    state: CaseState
    priority: CasePriority
    territories: list[str]
    source: Source
    received_at: datetime
    complete_at: datetime | None = Field(description="When the notice had every field that its bases require.")
    missing: list[str] = Field(description="Fields that a claimed basis requires and the notice lacks.")
    assignee: str | None
    claim: CaseClaim | None
    version: int = Field(description="Send it with each change: a stale version is refused with what has changed.")
    due_at: datetime | None = Field(description="When the next duty is due; null: none is.")
    overdue: bool
    targets: list[CaseTarget]
    deadlines: list[CaseDeadline]
    pending_decision: PendingDecision | None
    duplicate_of: str | None
    automated_detection: bool
    automated_decision: bool
    held: bool = Field(description="Restoration is on hold, because a court action was shown.")
    created_at: datetime
    retain_until: datetime | None
    erased_at: datetime | None = Field(description="When the key of the personal data was destroyed.")
    urls: CaseUrls


class CaseDecision(Resource):
    """A decision. It never changes; a correction is a new decision that supersedes it."""

    object: Literal["case_decision"] = "case_decision"
    id: str
    case: str
    action: Action
    ground: str
    template: str
    template_version: int
    reason: str = Field(description="The reason template with its slots filled in.")
    models: list[str]
    by: str
    approved_by: str | None
    decided_at: datetime
    applied_at: datetime
    supersedes: str | None


class CaseEvent(Resource):
    """An entry in the history of a case. Its detail is sealed."""

    object: Literal["case_event"] = "case_event"
    seq: int
    at: datetime
    actor: str = Field(description="Id of an API key, or `service`.")
    kind: str = Field(examples=["opened", "decided", "in_force"])
    from_state: CaseState | None
    to_state: CaseState
    version: int


class PersonalData(Resource):
    """The sealed text of a case. Each reading is an event of the case."""

    object: Literal["personal_data"] = "personal_data"
    case: str
    notice: Notice
    facts: dict[str, str] = Field(description="The facts of each decision, by id.")
    counter_notices: dict[str, CounterNotice]
    complaints: dict[str, Complaint]
    details: dict[str, str] = Field(description="Details of events, by number.")


class BulkOutcome(Resource):
    """What a bulk decision would do, or did, to one case."""

    case: str
    reference: str | None
    accepted: bool
    code: str | None
    message: str | None


class BulkDecision(Resource):
    """The preview or the outcome of a bulk decision."""

    object: Literal["bulk_decision"] = "bulk_decision"
    preview: bool = Field(description="Nothing was changed. Repeat with `count` to confirm.")
    count: int = Field(description="Cases that the decision applies to.")
    outcomes: list[BulkOutcome]
