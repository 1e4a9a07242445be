"""Bodies of the requests about takedown cases. What they contain is personal data, which the service seals."""

from datetime import datetime
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, field_validator

from api_schemas.base import Phrase, Request, field_error, normalize_text
from api_schemas.edits import EditOptions, ModelName, Removal, Validation
from api_schemas.kinds import KIND_DESCRIPTION, ConceptKind

NoticeRole: TypeAlias = Literal["self", "agent", "owner", "flagger", "authority"]
StatementKind: TypeAlias = Literal["good_faith", "accuracy", "authority", "perjury", "no_consent", "jurisdiction"]

MAX_TARGETS, MAX_BULK = 200, 1000


def _refuse_controls(text: str) -> str:
    """Reject control characters other than line breaks and tabs."""
    if any(ord(char) < 32 and char not in "\n\t" for char in text.replace("\r\n", "\n")) or "\x7f" in text:
        raise field_error("control_character", "contains a control character", "Send plain text.")
    return text.encode(errors="replace").decode()


def _parse_time(value: object) -> object:
    """Accept ISO 8601 text, which strict mode would refuse outside of JSON."""
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def _require_zone(time: datetime) -> datetime:
    if time.tzinfo is None:
        raise field_error("no_time_zone", "has no time zone", "Send UTC, such as 2026-05-01T12:00:00Z.")
    if not 1970 <= time.year <= 9000:
        raise field_error("time_out_of_range", "is not a time of this service", "Send the actual time.")
    return time


Line = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500), AfterValidator(normalize_text)
]
Text = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=10_000),
    AfterValidator(_refuse_controls),
]
Time = Annotated[datetime, BeforeValidator(_parse_time), AfterValidator(_require_zone)]
BasisId = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$", examples=["us-tida"])]
CaseId = Annotated[str, Field(pattern=r"^case_[0-9A-HJKMNP-TV-Z]{26}$")]
Territory = Annotated[str, Field(pattern=r"^[A-Z]{2}$", examples=["DE"])]
Version = Annotated[int, Field(ge=1, lt=2**31, description="The `version` of the case that the decision is based on.")]


class Contact(Request):
    """A person or an organization, and how to reach it."""

    name: Line | None = None
    email: Annotated[str, StringConstraints(pattern=r"^[^@\s]{1,200}@[^@\s]{1,200}$")] | None = None
    address: Line | None = None
    phone: Line | None = None


class SignedStatement(Request):
    """A declaration that the sender made, such as that of good faith."""

    kind: StatementKind
    text_version: Line = Field(description="Version of the wording that was shown to the sender.")
    at: Time


class Notice(Request):
    """A notice. Every field is optional, because an incomplete notice is a case too: it lists what is missing."""

    notifier: Contact = Contact()
    role: NoticeRole = Field(default="self", description="On whose behalf the notifier acts.")
    signature: Line | None = None
    statements: list[SignedStatement] = Field(default=[], max_length=10)
    allegation: Text | None = Field(default=None, description="Why the notifier asks for the removal.")
    concept: Phrase | None = Field(default=None, description="What to remove, as a prompt would name it.")
    kind: ConceptKind = Field(default="object", description=KIND_DESCRIPTION)
    aliases: list[Phrase] = Field(default=[], max_length=50)
    locations: list[Line] = Field(default=[], max_length=200, description="Where the material is: URLs, models.")
    files: list[Line] = Field(default=[], max_length=50, description="References to evidence.")


class CaseRequest(Request):
    """The body of `POST /v1/cases`."""

    bases: list[BasisId] = Field(min_length=1, max_length=8, description="Ids of `GET /v1/bases`.")
    notice: Notice
    source: Literal["art16", "trusted_flagger", "order", "subject", "own"] = "art16"
    models: list[ModelName] = Field(default=[], max_length=MAX_TARGETS, description="Base models that it is about.")
    territories: list[Territory] = Field(default=[], max_length=60, description="ISO 3166 codes; empty: everywhere.")
    priority: Literal["high", "normal", "low"] = "normal"
    received_at: Time | None = Field(default=None, description="Default: now. Clocks count from it.")
    automated_detection: bool = False

    @field_validator("bases")
    @classmethod
    def _no_repeats(cls, bases: list[str]) -> list[str]:
        if len(set(bases)) < len(bases):
            raise field_error("duplicate", "names a basis twice", "Name each basis once.")
        return bases


class VersionedRequest(Request):
    """The body of a change that needs nothing but the case's version."""

    version: Version


class ClaimRequest(Request):
    """The body of `POST /v1/cases/{case_id}/claim`."""

    takeover: bool = Field(default=False, description="Claim the case even if somebody else has claimed it.")


class NoticeUpdate(VersionedRequest):
    """The body of `PUT /v1/cases/{case_id}/notice`."""

    notice: Notice


class CaseUpdate(VersionedRequest):
    """The body of `PATCH /v1/cases/{case_id}`. Fields that are missing or null stay as they are."""

    priority: Literal["high", "normal", "low"] | None = None
    assignee: Line | None = Field(default=None, description="Id of an API key, or a role.")
    territories: list[Territory] | None = Field(default=None, max_length=60)


class DecisionBody(Request):
    """What is decided, and why."""

    action: Literal["erase", "withhold", "refuse", "none"] = Field(
        description="`erase`: remove the concept from each model. `withhold`: stop serving the models through the Hub routes. "
        "`refuse`: reject the notice. `none`: close the matter without a measure."
    )
    ground: Line = Field(description="The legal or contractual ground. It is published: no personal data.")
    template: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,63}$")] = Field(
        description="A reason template of `GET /v1/reason_templates`."
    )
    slots: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")], Line] = Field(default={}, max_length=20)
    facts: Text | None = Field(default=None, description="The facts of the case, sealed.")
    models: list[ModelName] = Field(
        default=[], max_length=MAX_TARGETS, description="Models to act on. Empty: those of the case."
    )
    removal: Removal | None = Field(
        default=None, description="What to erase. Default: the notice's concept and aliases."
    )
    options: EditOptions = EditOptions()
    validation: Validation = Validation()
    automated: bool = Field(default=False, description="No human took part in the decision.")


class DecisionRequest(DecisionBody):
    """The body of `POST /v1/cases/{case_id}/decisions`."""

    version: Version


class CaseVersion(VersionedRequest):
    """A case of a bulk decision."""

    case: CaseId


class BulkDecisionRequest(Request):
    """The body of `POST /v1/cases:decide`. Without `count` it is a preview."""

    cases: list[CaseVersion] = Field(min_length=1, max_length=MAX_BULK)
    decision: DecisionBody
    count: Annotated[int, Field(ge=0, le=MAX_BULK)] | None = Field(
        default=None, description="Confirms the preview: the number of cases that it accepted."
    )


class CounterNotice(Request):
    """A counter-notice: what was removed should be restored."""

    respondent: Contact = Contact()
    signature: Line | None = None
    statements: list[SignedStatement] = Field(default=[], max_length=10)
    explanation: Text
    received_at: Time | None = Field(default=None, description="Default: now. The clocks of restoration count from it.")


class CounterNoticeRequest(CounterNotice, VersionedRequest):
    """The body of `POST /v1/cases/{case_id}/counter_notices`."""


class HoldRequest(VersionedRequest):
    """The body of `POST /v1/cases/{case_id}/hold`: a court action was shown, so nothing is restored."""

    held: bool = Field(default=True, description="`false` ends the hold.")
    reason: Text


class RestoreRequest(VersionedRequest):
    """The body of `POST /v1/cases/{case_id}/restore`."""

    reason: Text
    override: bool = Field(default=False, description="Restore before `restore_not_before`, or despite a hold.")


class Complaint(Request):
    """A complaint about a decision, also about a refusal."""

    complainant: Contact = Contact()
    explanation: Text
    received_at: Time | None = Field(default=None, description="Default: now. It must be within the complaint window.")


class ComplaintRequest(Complaint, VersionedRequest):
    """The body of `POST /v1/cases/{case_id}/complaints`."""


class ResolutionRequest(VersionedRequest):
    """The body of `POST /v1/cases/{case_id}/resolve`: a human resolves what contests the case."""

    outcome: Literal["upheld", "rejected"] = Field(
        description="`upheld`: the complaint is right, so targets are restored, or a refused case is open again."
    )
    reason: Text


class CloseRequest(VersionedRequest):
    """The body of `POST /v1/cases/{case_id}/close`."""

    outcome: Literal["closed", "withdrawn", "void", "merged"] = "closed"
    duplicate_of: CaseId | None = Field(default=None, description="The case that continues it, if it is merged.")
    reason: Text | None = None


class ExtendRequest(VersionedRequest):
    """The body of `POST /v1/cases/{case_id}/deadlines/{deadline_id}/extend`."""

    due_at: Time
    reason: Line


class NameSearch(Request):
    """The body of `POST /v1/cases:search`. Names are personal data, so they are not in URLs."""

    name: Phrase
