"""One example of each resource and request about takedown cases."""

from datetime import timedelta
from typing import Any

from pydantic import BaseModel

from api_schemas.cases import (
    BulkDecision,
    BulkOutcome,
    Case,
    CaseClaim,
    CaseDeadline,
    CaseDecision,
    CaseEvent,
    CaseTarget,
    CaseUrls,
    PersonalData,
)
from api_schemas.cases_bases import CaseBasis, ReasonTemplate, TemplateSlot
from api_schemas.cases_requests import (
    BulkDecisionRequest,
    CaseRequest,
    CaseUpdate,
    CaseVersion,
    ClaimRequest,
    CloseRequest,
    ComplaintRequest,
    Contact,
    CounterNoticeRequest,
    DecisionBody,
    DecisionRequest,
    ExtendRequest,
    HoldRequest,
    NameSearch,
    Notice,
    NoticeUpdate,
    ResolutionRequest,
    RestoreRequest,
    SignedStatement,
    VersionedRequest,
)
from api_schemas.cases_statements import CaseStatement, DsaStatement
from api_schemas.webhooks import CaseNews, CaseWebhookMessage
from service.api.example_values import CASE_ID, DEADLINE_ID, DECISION_ID, EDIT_ID, KEY_ID, NOW, STATEMENT_ID, TARGET_ID

NOTICE = Notice(
    notifier=Contact(name="A. Notifier", email="notifier@example.org"),
    role="owner",
    signature="A. Notifier",
    statements=[SignedStatement(kind="good_faith", text_version="2026-01", at=NOW)],
    allegation="The model reproduces my character.",
    concept="Foxy the Fox",
    kind="character",
    locations=["https://hub.example/emoji"],
)
REASON: dict[str, Any] = {
    "ground": "17 USC 512(c)",
    "template": "protected-work",
    "slots": {"work_count": "1", "kind": "character", "received_on": "2026-05-01"},
}
DECISION = DecisionBody(action="erase", facts="The model draws the character by name.", **REASON)
TEXT = (
    "The model could reproduce 1 protected work(s) or a protected character without a licence. We received a notice on "
    "2026-05-01."
)
DSA = DsaStatement(
    decision_visibility=["DECISION_VISIBILITY_OTHER"],
    decision_visibility_other="A concept was removed from the weights of the model.",
    decision_ground="DECISION_GROUND_ILLEGAL_CONTENT",
    illegal_content_legal_ground="17 USC 512(c)",
    illegal_content_explanation=TEXT,
    content_type=["CONTENT_TYPE_OTHER"],
    content_type_other="Weights of a text-to-image model",
    category="STATEMENT_CATEGORY_INTELLECTUAL_PROPERTY_INFRINGEMENTS",
    category_specification=["KEYWORD_COPYRIGHT_INFRINGEMENT"],
    territorial_scope=["DE"],
    content_date=NOW.date(),
    application_date=NOW.date(),
    decision_facts=f"A notice was received on 2026-05-01 (17 USC 512(c)(3)). {TEXT}",
    source_type="SOURCE_ARTICLE_16",
    automated_detection="No",
    automated_decision="AUTOMATED_DECISION_NOT_AUTOMATED",
    puid=f"expunge-{STATEMENT_ID}",
)
DEADLINE = CaseDeadline(
    id=DEADLINE_ID,
    kind="action",
    basis="us-dmca",
    rule="5 business days",
    rule_version="examples-1",
    started_at=NOW,
    due_at=NOW + timedelta(days=7, hours=16),
    status="running",
    met_at=None,
    missed_at=None,
    extended_at=None,
    reason=None,
)
CASE = Case(
    id=CASE_ID,
    reference="C-2026-00042",
    bases=["us-dmca"],
    state="applying",
    priority="normal",
    territories=["DE"],
    source="art16",
    received_at=NOW,
    complete_at=NOW,
    missing=[],
    assignee=None,
    claim=CaseClaim(by=KEY_ID, until=NOW + timedelta(minutes=15)),
    version=4,
    due_at=DEADLINE.due_at,
    overdue=False,
    targets=[
        CaseTarget(
            id=TARGET_ID,
            model="emoji",
            state="queued",
            edit=EDIT_ID,
            revocation=None,
            revision=None,
            verdict=None,
            in_force_at=None,
            withheld_at=None,
            restore_not_before=None,
        )
    ],
    deadlines=[DEADLINE],
    pending_decision=None,
    duplicate_of=None,
    automated_detection=False,
    automated_decision=False,
    held=False,
    created_at=NOW,
    retain_until=None,
    erased_at=None,
    urls=CaseUrls(
        self=f"/v1/cases/{CASE_ID}",
        **{part: f"/v1/cases/{CASE_ID}/{part}" for part in ("events", "decisions", "personal_data", "statement")},
    ),
)
CASE_EXAMPLES: tuple[BaseModel, ...] = (
    CASE,
    CaseRequest(bases=["us-dmca"], notice=NOTICE, models=["emoji"], territories=["DE"]),
    CaseUpdate(version=4, priority="high"),
    ClaimRequest(takeover=True),
    CloseRequest(version=4, outcome="withdrawn", reason="The notifier has retracted the notice."),
    ComplaintRequest(version=4, complainant=Contact(name="B. Uploader"), explanation="The use is permitted."),
    CounterNoticeRequest(
        version=4, respondent=Contact(name="B. Uploader"), signature="B. Uploader", explanation="It is a parody."
    ),
    DecisionRequest(version=4, **dict(DECISION)),
    BulkDecisionRequest(cases=[CaseVersion(case=CASE_ID, version=4)], decision=DECISION, count=1),
    ExtendRequest(version=4, due_at=NOW + timedelta(days=30), reason="The notifier agreed."),
    HoldRequest(version=4, reason="The notifier has filed a suit."),
    NameSearch(name="Foxy the Fox"),
    NoticeUpdate(version=4, notice=NOTICE),
    ResolutionRequest(version=4, outcome="upheld", reason="It is a parody."),
    RestoreRequest(version=4, reason="The notifier has retracted the notice."),
    VersionedRequest(version=4),
    CaseDecision(
        id=DECISION_ID,
        case=CASE_ID,
        action="erase",
        ground="17 USC 512(c)",
        template="protected-work",
        template_version=1,
        reason=TEXT,
        models=["emoji"],
        by=KEY_ID,
        approved_by=None,
        decided_at=NOW,
        applied_at=NOW + timedelta(seconds=30),
        supersedes=None,
    ),
    CaseEvent(seq=3, at=NOW, actor=KEY_ID, kind="decided", from_state="open", to_state="decided", version=3),
    PersonalData(
        case=CASE_ID,
        notice=NOTICE,
        facts={DECISION_ID: "The model draws the character by name."},
        counter_notices={},
        complaints={},
        details={},
    ),
    CaseStatement(
        id=STATEMENT_ID,
        case=CASE_ID,
        reference="C-2026-00042",
        decision=DECISION_ID,
        action="erase",
        language="en",
        ground="17 USC 512(c)",
        text=TEXT,
        effects=["emoji: the concept was removed, revision 3"],
        redress="You may contest this decision with a complaint or a counter-notice.",
        sent_at=NOW,
        puid=DSA.puid,
        dsa=DSA,
    ),
    CaseBasis(
        id="us-dmca",
        title="Copyright (DMCA)",
        law="17 USC 512(c)(3)",
        note="Example: have counsel sign this off.",
        version="examples-1",
        required=["signature", "concept", "locations"],
        reviewers=1,
        statement=True,
        clocks={"action": "5 business days"},
    ),
    ReasonTemplate(
        name="unfounded",
        version=1,
        actions=["refuse", "none"],
        language="en",
        text="We did not act on the notice, because {finding}.",
        slots={"finding": TemplateSlot(type="choice", choices=["the use is permitted"])},
    ),
    BulkDecision(
        preview=True,
        count=1,
        outcomes=[BulkOutcome(case=CASE_ID, reference="C-2026-00042", accepted=True, code=None, message=None)],
    ),
    CaseWebhookMessage(
        type="case.in_force",
        timestamp=NOW,
        data=CaseNews(id=CASE_ID, reference="C-2026-00042", state="in_force", url=f"/v1/cases/{CASE_ID}"),
    ),
)
