"""The synchronous cases, generated from `async_cases.py` by `generate_sync_client.py`. Edit those instead."""

import uuid
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel

from api_schemas.cases import BulkDecision, Case, CaseDecision, CaseEvent, PersonalData
from api_schemas.cases_bases import CaseBasis, ReasonTemplate
from api_schemas.cases_requests import (
    BulkDecisionRequest,
    CaseRequest,
    CaseUpdate,
    CloseRequest,
    Complaint,
    ComplaintRequest,
    CounterNotice,
    CounterNoticeRequest,
    DecisionBody,
    DecisionRequest,
    ExtendRequest,
    HoldRequest,
    Notice,
    NoticeUpdate,
    ResolutionRequest,
    RestoreRequest,
    VersionedRequest,
)
from api_schemas.cases_statements import CaseStatement
from api_schemas.client.sync_connection import Connection
from api_schemas.client.transport import raise_for_problem
from api_schemas.jobs import Page


class Cases:
    """`client.cases`. Changes take the case that they are based on, and fail if it has changed since."""

    def __init__(self, client: Connection) -> None:
        self._client = client

    def bases(self) -> Sequence[CaseBasis]:
        """Return the bases of notices, with their clocks."""
        return (self._client.request(Page[CaseBasis], "GET", "/v1/bases")).data

    def reason_templates(self) -> Sequence[ReasonTemplate]:
        """Return the reason templates of decisions."""
        return (self._client.request(Page[ReasonTemplate], "GET", "/v1/reason_templates")).data

    def create(self, request: CaseRequest, *, idempotency_key: str | None = None) -> Case:
        """Open a case from a notice. A repeated call with the same key returns the same case."""
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        return self._client.request(Case, "POST", "/v1/cases", json=_body(request), headers=headers)

    def get(self, case_id: str) -> Case:
        """Return the current state of a case."""
        return self._client.request(Case, "GET", f"/v1/cases/{case_id}")

    def list(self, **filters: Any) -> Iterator[Case]:
        """List cases, due first. Filters: state, basis, model, assignee, claimed_by, overdue."""
        for case in self._client.paginate(Page[Case], "/v1/cases", filters):
            yield case

    def search(self, name: str) -> Sequence[Case]:
        """Return the cases whose notice has a name."""
        return (self._client.request(Page[Case], "POST", "/v1/cases:search", json={"name": name})).data

    def claim(self, case_id: str, *, takeover: bool = False) -> Case:
        """Claim a case, also one that somebody else has claimed if `takeover` is set."""
        return self._post(case_id, "claim", {"takeover": takeover})

    def claim_next(self) -> Case | None:
        """Claim the free case that is due first; None if no case waits for a person."""
        response = self._client.send("POST", "/v1/cases:next")
        raise_for_problem(response)
        return None if response.status_code == 204 else Case.model_validate_json(response.content)

    def release(self, case_id: str) -> Case:
        """Give up one's claim of a case."""
        return self._post(case_id, "release", {})

    def update(self, case: Case, **changes: Any) -> Case:
        """Change the priority, the assignee or the territories of a case."""
        body = _body(CaseUpdate(version=case.version, **changes))
        return self._client.request(Case, "PATCH", f"/v1/cases/{case.id}", json=body)

    def replace_notice(self, case: Case, notice: Notice) -> Case:
        """Replace the notice of a case that is not decided yet."""
        body = _body(NoticeUpdate(version=case.version, notice=notice))
        return self._client.request(Case, "PUT", f"/v1/cases/{case.id}/notice", json=body)

    def personal_data(self, case_id: str) -> PersonalData:
        """Return the sealed text of a case. The reading is recorded."""
        return self._client.request(PersonalData, "GET", f"/v1/cases/{case_id}/personal_data")

    def events(self, case_id: str) -> Iterator[CaseEvent]:
        """Iterate over the history of a case, oldest first."""
        path = f"/v1/cases/{case_id}/events"
        for event in self._client.paginate(Page[CaseEvent], path, {"limit": 1000}):
            yield event

    def decisions(self, case_id: str) -> Sequence[CaseDecision]:
        """Return the decisions of a case, oldest first."""
        return (self._client.request(Page[CaseDecision], "GET", f"/v1/cases/{case_id}/decisions")).data

    def decide(self, case: Case, decision: DecisionBody) -> Case:
        """Propose a decision."""
        return self._post(case.id, "decisions", DecisionRequest(version=case.version, **dict(decision)))

    def decide_all(self, request: BulkDecisionRequest) -> BulkDecision:
        """Preview a decision about many cases, or make it if the request confirms the count of the preview."""
        return self._client.request(BulkDecision, "POST", "/v1/cases:decide", json=_body(request))

    def approve(self, case: Case) -> Case:
        """Agree to the decision that somebody else has proposed."""
        return self._post(case.id, "approve", VersionedRequest(version=case.version))

    def undo(self, case: Case) -> Case:
        """Take back a decision that has not taken effect."""
        return self._post(case.id, "undo", VersionedRequest(version=case.version))

    def add_counter_notice(self, case: Case, notice: CounterNotice) -> Case:
        """Add a counter-notice, which starts the clocks of restoration."""
        return self._post(case.id, "counter_notices", CounterNoticeRequest(version=case.version, **dict(notice)))

    def add_complaint(self, case: Case, complaint: Complaint) -> Case:
        """Add a complaint, which a person must resolve."""
        return self._post(case.id, "complaints", ComplaintRequest(version=case.version, **dict(complaint)))

    def hold(self, case: Case, reason: str, *, held: bool = True) -> Case:
        """Hold the restoration of a contested case, or end the hold."""
        return self._post(case.id, "hold", HoldRequest(version=case.version, reason=reason, held=held))

    def resolve(self, case: Case, outcome: Literal["upheld", "rejected"], reason: str) -> Case:
        """Resolve what contests a case."""
        return self._post(case.id, "resolve", ResolutionRequest(version=case.version, outcome=outcome, reason=reason))

    def restore(self, case: Case, reason: str, *, override: bool = False) -> Case:
        """Restore the targets of a case."""
        return self._post(case.id, "restore", RestoreRequest(version=case.version, reason=reason, override=override))

    def close(self, case: Case, **options: Any) -> Case:
        """End a case. Options: outcome, duplicate_of, reason."""
        return self._post(case.id, "close", CloseRequest(version=case.version, **options))

    def extend(self, case: Case, deadline_id: str, due_at: datetime, reason: str) -> Case:
        """Extend a deadline of a case."""
        body = ExtendRequest(version=case.version, due_at=due_at, reason=reason)
        return self._post(case.id, f"deadlines/{deadline_id}/extend", body)

    def erase(self, case: Case) -> Case:
        """Erase the personal data of a case that has ended."""
        return self._post(case.id, "erase", VersionedRequest(version=case.version))

    def statement(self, case_id: str) -> CaseStatement:
        """Return the latest statement of reasons of a case."""
        return self._client.request(CaseStatement, "GET", f"/v1/cases/{case_id}/statement")

    def _post(self, case_id: str, action: str, body: BaseModel | dict[str, Any]) -> Case:
        sent = body if isinstance(body, dict) else _body(body)
        return self._client.request(Case, "POST", f"/v1/cases/{case_id}/{action}", json=sent)


def _body(request: BaseModel) -> dict[str, Any]:
    return request.model_dump(mode="json", exclude_unset=True)
