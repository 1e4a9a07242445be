"""The synchronous fleets, generated from `async_fleets.py` by `generate_sync_client.py`. Edit those instead."""

import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from api_schemas.client.sync_connection import Connection
from api_schemas.client.transport import POLL_SECONDS, raise_for_problem
from api_schemas.fleets import Fleet, FleetPlan, FleetRequest, FleetTarget
from api_schemas.jobs import Page


class Fleets:
    """`client.fleets`."""

    def __init__(self, client: Connection) -> None:
        self._client = client

    def create(self, request: FleetRequest, *, idempotency_key: str | None = None) -> Fleet:
        """Remove concepts from every selected model. A repeated call with the same key returns the same fleet."""
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        body = request.model_dump(mode="json")
        return self._client.request(Fleet, "POST", "/v1/fleets", json=body, headers=headers)

    def plan(self, request: FleetRequest) -> FleetPlan:
        """Return the models that are selected now, and their groups. Nothing is queued."""
        return self._client.request(FleetPlan, "POST", "/v1/fleets:plan", json=request.model_dump(mode="json"))

    def get(self, fleet_id: str) -> Fleet:
        """Return the current state of a fleet."""
        return self._client.request(Fleet, "GET", f"/v1/fleets/{fleet_id}")

    def list(self, **filters: Any) -> Iterator[Fleet]:
        """Iterate over fleets, newest first."""
        for fleet in self._client.paginate(Page[Fleet], "/v1/fleets", filters):
            yield fleet

    def targets(self, fleet_id: str) -> Iterator[FleetTarget]:
        """Iterate over the targets of a fleet, by model."""
        path = f"/v1/fleets/{fleet_id}/targets"
        for target in self._client.paginate(Page[FleetTarget], path, {"limit": 1000}):
            yield target

    def cancel(self, fleet_id: str) -> Fleet:
        """Cancel the edits that have not ended."""
        return self._client.request(Fleet, "POST", f"/v1/fleets/{fleet_id}/cancel")

    def statement(self, fleet_id: str) -> bytes:
        """Return the signed statement: DSSE envelopes, one a line."""
        response = self._client.send("GET", f"/v1/fleets/{fleet_id}/statement")
        raise_for_problem(response)
        return response.content

    def wait(self, fleet_id: str, on_change: Callable[[Fleet], object] = lambda fleet: None) -> Fleet:
        """Wait until all targets have ended and the statement is signed."""
        while True:
            fleet = self.get(fleet_id)
            on_change(fleet)
            if fleet.finished_at:
                return fleet
            time.sleep(POLL_SECONDS)
