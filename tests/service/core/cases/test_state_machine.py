"""Any sequence of actions keeps the promises of a case.

There is no path to `in_force` without a statement, no deadline is lost, and nothing is restored early.
"""

import tempfile
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from api_schemas.access import SCOPES
from api_schemas.cases import ENDED_STATES, Case
from api_schemas.cases_requests import ComplaintRequest, HoldRequest, ResolutionRequest
from service.core.app_state import AppState
from service.core.caller import Caller
from service.core.cases import contests, decisions
from service.errors import ServiceError
from service.settings import ServiceSettings
from service.store import cases as store
from service.store.cases_orm import CaseTarget
from tests.fakes.clock import FakeClock
from tests.fakes.desk import ERASE, REFUSE, WITHHOLD, Desk
from tests.fakes.model import write_model

ACTIONS = {"erase": ERASE, "withhold": WITHHOLD, "refuse": REFUSE, "none": REFUSE | {"action": "none"}}


class CaseMachine(RuleBasedStateMachine):
    """One case on which persons act in any order while jobs end in any way."""

    folder = tempfile.TemporaryDirectory(prefix="expunge-cases-")
    app_state: AppState

    @initialize(basis=st.sampled_from(["us-dmca", "eu-dsa", "order", "us-tida"]))
    def open(self, basis: str) -> None:
        root = Path(self.folder.name)
        models = {
            name: root / name if (root / name).exists() else write_model(root / name) for name in ("tiny", "small")
        }
        clock = FakeClock()
        self.app_state = AppState.from_settings(
            ServiceSettings(data_dir=root, broker_url="memory://", models=models), clock=clock
        )
        self.app_state.database.prepare()
        agent, reviewer = (Caller(name, f"tenant-{id(self)}", frozenset(SCOPES)) for name in ("agent", "reviewer"))
        self.desk = Desk(self.app_state, clock, agent, reviewer)
        self.case_id = self.desk.open(basis, models=("tiny", "small"), files=["order 1"]).id
        self.deadlines: dict[str, datetime] = {}

    def teardown(self) -> None:
        if hasattr(self, "app_state"):
            self.app_state.database.close()

    @property
    def case(self) -> Case:
        return self.desk.read(self.case_id)

    def attempt(self, action: Callable[[], Any]) -> None:
        """Act; a refusal must change nothing but the claim."""
        before, refusal = self.case.version, None
        try:
            action()
        except ServiceError as error:
            refusal = error
        if refusal:
            assert refusal.status in (403, 409, 410, 422)
            assert self.case.version == before

    @rule(action=st.sampled_from(sorted(ACTIONS)))
    def decide(self, action: str) -> None:
        self.attempt(lambda: self.desk.decide(self.case, ACTIONS[action]))

    @rule()
    def approve(self) -> None:
        self.attempt(lambda: decisions.approve(self.app_state, self.desk.reviewer, self.case_id, self.case.version))

    @rule()
    def undo(self) -> None:
        self.attempt(lambda: decisions.undo(self.app_state, self.desk.agent, self.case_id, self.case.version))

    @rule(seconds=st.sampled_from([5, 31, 3600, 86_400, 20 * 86_400, 200 * 86_400]))
    def wait(self, seconds: int) -> None:
        self.desk.clock.advance(seconds)
        self.desk.sweep()

    @rule(outcome=st.sampled_from(["passed", "failed", "inconclusive", "crash"]))
    def end_jobs(self, outcome: str) -> None:
        for target in self.case.targets:
            job = target.revocation if target.state == "revoking" else target.edit
            with suppress(AssertionError):  # the job has ended
                self.desk.end_edit(job, outcome, fails=outcome == "crash")
        self.desk.sweep()

    @rule()
    def counter(self) -> None:
        self.attempt(lambda: self.desk.counter(self.case))

    @rule()
    def complain(self) -> None:
        request = ComplaintRequest(version=self.case.version, explanation="no")
        self.attempt(lambda: contests.add_complaint(self.app_state, self.desk.agent, self.case_id, request))

    @rule(held=st.booleans())
    def hold(self, held: bool) -> None:
        request = HoldRequest(version=self.case.version, held=held, reason="docket")
        self.attempt(lambda: contests.hold(self.app_state, self.desk.agent, self.case_id, request))

    @rule(outcome=st.sampled_from(["upheld", "rejected"]))
    def resolve(self, outcome: Any) -> None:
        request = ResolutionRequest(version=self.case.version, outcome=outcome, reason="so")
        self.attempt(lambda: contests.resolve(self.app_state, self.desk.reviewer, self.case_id, request))

    @rule()
    def restore(self) -> None:
        self.attempt(lambda: self.desk.restore(self.case))

    @rule(outcome=st.sampled_from(["closed", "withdrawn", "void"]))
    def close(self, outcome: str) -> None:
        self.attempt(lambda: self.desk.close(self.case, outcome))

    @invariant()
    def promises_hold(self) -> None:
        case = self.case
        with self.app_state.database.read() as session:
            row = store.get(session, self.desk.agent.tenant, self.case_id)
            assert row
            if case.state in ("in_force", "restored"):
                assert row.statement_id or row.no_statement_reason
            if case.state == "in_force":
                assert {target.state for target in case.targets} <= {"in_force", "withheld"}
            for target in row.targets:
                self._check_target(target)
            history = store.events(session, self.case_id, after=0, limit=1000)
        assert [event.seq for event in history] == list(range(1, len(history) + 1))
        known = {one.id: one.due_at for one in case.deadlines}
        assert self.deadlines.items() <= known.items()
        self.deadlines = known
        if case.state not in ENDED_STATES and case.state in ("open", "decided", "applying", "at_risk"):
            assert case.due_at, "a case that is not decided has a clock"

    def _check_target(self, target: CaseTarget) -> None:
        if target.state == "in_force":
            assert target.verdict == "passed"
        if target.state in ("revoking", "revoked") and target.restore_not_before:
            assert target.revoking_at
            assert target.revoking_at >= target.restore_not_before


TestCases = CaseMachine.TestCase
TestCases.settings = settings(
    max_examples=12, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
