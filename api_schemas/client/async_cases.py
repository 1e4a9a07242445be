"""`client.cases` of the asynchronous client. `sync_cases.py` is generated from it by `generate_sync_client.py`."""

import uuid
from collections.abc import AsyncIterator, Sequence
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
from api_schemas.client.async_connection import AsyncConnection
from api_schemas.client.transport import raise_for_problem
from api_schemas.jobs import Page


class AsyncCases:
    """`client.cases`. Changes take the case that they are based on, and fail if it has changed since."""

    def __init__(self, client: AsyncConnection) -> None:
        self._client = client

    async def bases(self) -> Sequence[CaseBasis]:
        """Return the bases of notices, with their clocks."""
        return (await self._client.request(Page[CaseBasis], "GET", "/v1/bases")).data

    async def reason_templates(self) -> Sequence[ReasonTemplate]:
        """Return the reason templates of decisions."""
        return (await self._client.request(Page[ReasonTemplate], "GET", "/v1/reason_templates")).data

    async def create(self, request: CaseRequest, *, idempotency_key: str | None = None) -> Case:
        """Open a case from a notice. A repeated call with the same key returns the same case."""
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        return await self._client.request(Case, "POST", "/v1/cases", json=_body(request), headers=headers)

    async def get(self, case_id: str) -> Case:
        """Return the current state of a case."""
        return await self._client.request(Case, "GET", f"/v1/cases/{case_id}")

    async def list(self, **filters: Any) -> AsyncIterator[Case]:
        """List cases, due first. Filters: state, basis, model, assignee, claimed_by, overdue."""
        async for case in self._client.paginate(Page[Case], "/v1/cases", filters):
            yield case

    async def search(self, name: str) -> Sequence[Case]:
        """Return the cases whose notice has a name."""
        return (await self._client.request(Page[Case], "POST", "/v1/cases:search", json={"name": name})).data

    async def claim(self, case_id: str, *, takeover: bool = False) -> Case:
        """Claim a case, also one that somebody else has claimed if `takeover` is set."""
        return await self._post(case_id, "claim", {"takeover": takeover})

    async def claim_next(self) -> Case | None:
        """Claim the free case that is due first; None if no case waits for a person."""
        response = await self._client.send("POST", "/v1/cases:next")
        raise_for_problem(response)
        return None if response.status_code == 204 else Case.model_validate_json(response.content)

    async def release(self, case_id: str) -> Case:
        """Give up one's claim of a case."""
        return await self._post(case_id, "release", {})

    async def update(self, case: Case, **changes: Any) -> Case:
        """Change the priority, the assignee or the territories of a case."""
        body = _body(CaseUpdate(version=case.version, **changes))
        return await self._client.request(Case, "PATCH", f"/v1/cases/{case.id}", json=body)

    async def replace_notice(self, case: Case, notice: Notice) -> Case:
        """Replace the notice of a case that is not decided yet."""
        body = _body(NoticeUpdate(version=case.version, notice=notice))
        return await self._client.request(Case, "PUT", f"/v1/cases/{case.id}/notice", json=body)

    async def personal_data(self, case_id: str) -> PersonalData:
        """Return the sealed text of a case. The reading is recorded."""
        return await self._client.request(PersonalData, "GET", f"/v1/cases/{case_id}/personal_data")

    async def events(self, case_id: str) -> AsyncIterator[CaseEvent]:
        """Iterate over the history of a case, oldest first."""
        path = f"/v1/cases/{case_id}/events"
        async for event in self._client.paginate(Page[CaseEvent], path, {"limit": 1000}):
            yield event

    async def decisions(self, case_id: str) -> Sequence[CaseDecision]:
        """Return the decisions of a case, oldest first."""
        return (await self._client.request(Page[CaseDecision], "GET", f"/v1/cases/{case_id}/decisions")).data

    async def decide(self, case: Case, decision: DecisionBody) -> Case:
        """Propose a decision."""
        return await self._post(case.id, "decisions", DecisionRequest(version=case.version, **dict(decision)))

    async def decide_all(self, request: BulkDecisionRequest) -> BulkDecision:
        """Preview a decision about many cases, or make it if the request confirms the count of the preview."""
        return await self._client.request(BulkDecision, "POST", "/v1/cases:decide", json=_body(request))

    async def approve(self, case: Case) -> Case:
        """Agree to the decision that somebody else has proposed."""
        return await self._post(case.id, "approve", VersionedRequest(version=case.version))

    async def undo(self, case: Case) -> Case:
        """Take back a decision that has not taken effect."""
        return await self._post(case.id, "undo", VersionedRequest(version=case.version))

    async def add_counter_notice(self, case: Case, notice: CounterNotice) -> Case:
        """Add a counter-notice, which starts the clocks of restoration."""
        return await self._post(case.id, "counter_notices", CounterNoticeRequest(version=case.version, **dict(notice)))

    async def add_complaint(self, case: Case, complaint: Complaint) -> Case:
        """Add a complaint, which a person must resolve."""
        return await self._post(case.id, "complaints", ComplaintRequest(version=case.version, **dict(complaint)))

    async def hold(self, case: Case, reason: str, *, held: bool = True) -> Case:
        """Hold the restoration of a contested case, or end the hold."""
        return await self._post(case.id, "hold", HoldRequest(version=case.version, reason=reason, held=held))

    async def resolve(self, case: Case, outcome: Literal["upheld", "rejected"], reason: str) -> Case:
        """Resolve what contests a case."""
        return await self._post(
            case.id, "resolve", ResolutionRequest(version=case.version, outcome=outcome, reason=reason)
        )

    async def restore(self, case: Case, reason: str, *, override: bool = False) -> Case:
        """Restore the targets of a case."""
        return await self._post(
            case.id, "restore", RestoreRequest(version=case.version, reason=reason, override=override)
        )

    async def close(self, case: Case, **options: Any) -> Case:
        """End a case. Options: outcome, duplicate_of, reason."""
        return await self._post(case.id, "close", CloseRequest(version=case.version, **options))

    async def extend(self, case: Case, deadline_id: str, due_at: datetime, reason: str) -> Case:
        """Extend a deadline of a case."""
        body = ExtendRequest(version=case.version, due_at=due_at, reason=reason)
        return await self._post(case.id, f"deadlines/{deadline_id}/extend", body)

    async def erase(self, case: Case) -> Case:
        """Erase the personal data of a case that has ended."""
        return await self._post(case.id, "erase", VersionedRequest(version=case.version))

    async def statement(self, case_id: str) -> CaseStatement:
        """Return the latest statement of reasons of a case."""
        return await self._client.request(CaseStatement, "GET", f"/v1/cases/{case_id}/statement")

    async def _post(self, case_id: str, action: str, body: BaseModel | dict[str, Any]) -> Case:
        sent = body if isinstance(body, dict) else _body(body)
        return await self._client.request(Case, "POST", f"/v1/cases/{case_id}/{action}", json=sent)


def _body(request: BaseModel) -> dict[str, Any]:
    return request.model_dump(mode="json", exclude_unset=True)
