"""A desk of tenant `one`."""

import pytest

from api_schemas.access import SCOPES
from service.core.app_state import AppState
from service.core.caller import Caller
from tests.fakes.clock import FakeClock
from tests.fakes.desk import Desk


@pytest.fixture
def desk(app_state: AppState, clock: FakeClock) -> Desk:
    agent, reviewer = (Caller(name, "one", frozenset(SCOPES)) for name in ("agent-1", "reviewer-1"))
    return Desk(app_state, clock, agent, reviewer)
