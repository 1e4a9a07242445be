"""A desk: the cases of one tenant, with a clock that tests control and jobs that end when a test says so."""

import io
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from api_schemas.cases import Case
from api_schemas.cases_requests import (
    CaseRequest,
    CloseRequest,
    CounterNoticeRequest,
    DecisionRequest,
    RestoreRequest,
)
from api_schemas.jobs import JobError
from service.core.app_state import AppState
from service.core.caller import Caller
from service.core.cases import closing, contests, decisions, intake, reading, sweep
from service.store import claims, jobs, ledgers
from service.store.claims import StoredArtifact
from service.store.ledgers import NextRevision
from tests.fakes.clock import FakeClock

CANARIES = ("Zyxomma Quillfeather", "zq@example.org", "zyxommaland", "she never agreed to zyxomma")
"""Personal data of the sample notice. It may be stored nowhere but in sealed columns."""
NOTICE: dict[str, Any] = {
    "notifier": {"name": CANARIES[0], "email": CANARIES[1]},
    "signature": CANARIES[0],
    "concept": CANARIES[2],
    "aliases": ["zyxomma"],
    "allegation": CANARIES[3],
    "locations": ["https://hub.example/tiny"],
    "statements": [
        {"kind": kind, "text_version": "1", "at": "2026-05-01T10:00:00Z"}
        for kind in ("good_faith", "accuracy", "perjury")
    ],
}
ERASE: dict[str, Any] = {
    "action": "erase",
    "ground": "17 USC 512(c)",
    "template": "protected-work",
    "slots": {"work_count": "2", "kind": "character", "received_on": "2026-05-01"},
    "facts": CANARIES[3],
}
REFUSE: dict[str, Any] = {
    "action": "refuse",
    "ground": "17 USC 512(c)",
    "template": "unfounded",
    "slots": {"finding": "the use is permitted"},
}
WITHHOLD = ERASE | {"action": "withhold"}


@dataclass
class Desk:
    """What the persons of a desk do."""

    app_state: AppState
    clock: FakeClock
    agent: Caller
    reviewer: Caller

    def open(self, *bases: str, models: tuple[str, ...] = ("tiny",), **notice: Any) -> Case:
        body = NOTICE | notice
        request = CaseRequest.model_validate(
            {"bases": list(bases or ("us-dmca",)), "notice": body, "models": list(models)}, strict=False
        )
        return self.read(intake.create(self.app_state, self.agent, request).id)

    def read(self, case_id: str) -> Case:
        return reading.read(self.app_state, self.agent, case_id)

    def decide(self, case: Case, body: dict[str, Any]) -> Case:
        version = self.read(case.id).version
        decisions.decide(self.app_state, self.agent, case.id, DecisionRequest(**body, version=version))
        return self.read(case.id)

    def apply(self, case: Case, body: dict[str, Any]) -> Case:
        """Decide, and wait until the decision takes effect."""
        decided = self.decide(case, body)
        if decided.pending_decision and decided.pending_decision.awaits_approval:
            decisions.approve(self.app_state, self.reviewer, case.id, decided.version)
        return self.wait(case, 31)

    def wait(self, case: Case, seconds: float) -> Case:
        self.clock.advance(seconds)
        self.sweep()
        return self.read(case.id)

    def sweep(self) -> int:
        return sweep.sweep(self.app_state)

    def end_edit(
        self, job_id: str | None, verdict: Any = "passed", *, fails: bool = False, code: str = "internal_error"
    ) -> None:
        """End a job as a worker would."""
        assert job_id
        now = self.clock()
        with self.app_state.database.write() as session:
            claim = claims.claim(session, job_id, owner="w", lease=timedelta(seconds=30), now=now)
            assert claim
            if fails:
                claims.fail(session, claim, JobError(code=code, message="failed"), now=now)
                return
            files = self._publish()
            revokes = claim.kind == "revocation"
            assert claims.succeed(session, claim, files, "0" * 64, None if revokes else verdict, now=now)
            job = jobs.get(session, job_id)
            assert job
            head = ledgers.head(session, job.tenant, job.model)
            number = head.number if head else 0
            ledgers.advance(session, job, NextRevision(number, f"{number:064}", 1), now=now)

    def _publish(self) -> list[StoredArtifact]:
        blob = self.app_state.blobs.put(io.BytesIO(b"{}"))
        kinds = {"delta.safetensors": "delta", "text_encoder.safetensors": "lora", "report.json": "report"}
        return [StoredArtifact(name, kind, "application/json", blob.size, blob.sha256) for name, kind in kinds.items()]

    def in_force(self, *bases: str, models: tuple[str, ...] = ("tiny",)) -> Case:
        """Return a case whose edits have passed."""
        case = self.apply(self.open(*bases, models=models), ERASE)
        for target in case.targets:
            self.end_edit(target.edit)
        self.sweep()
        return self.read(case.id)

    def counter(self, case: Case) -> Case:
        version = self.read(case.id).version
        request = CounterNoticeRequest(explanation="a parody by zyxomma", version=version)
        contests.add_counter_notice(self.app_state, self.agent, case.id, request)
        return self.read(case.id)

    def restore(self, case: Case, *, override: bool = False, by: Caller | None = None) -> Case:
        request = RestoreRequest(version=self.read(case.id).version, reason="retracted", override=override)
        contests.restore(self.app_state, by or self.reviewer, case.id, request)
        return self.read(case.id)

    def close(self, case: Case, outcome: Any = "closed") -> Case:
        closing.close(
            self.app_state, self.agent, case.id, CloseRequest(version=self.read(case.id).version, outcome=outcome)
        )
        return self.read(case.id)
