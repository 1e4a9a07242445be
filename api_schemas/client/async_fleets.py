"""The asynchronous client's fleets. `sync_fleets.py` is generated from it by `generate_sync_client.py`."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

from api_schemas.client.async_connection import AsyncConnection
from api_schemas.client.transport import POLL_SECONDS, raise_for_problem
from api_schemas.fleets import Fleet, FleetPlan, FleetRequest, FleetTarget
from api_schemas.jobs import Page


class AsyncFleets:
    """`client.fleets`."""

    def __init__(self, client: AsyncConnection) -> None:
        self._client = client

    async def create(self, request: FleetRequest, *, idempotency_key: str | None = None) -> Fleet:
        """Remove concepts from every selected model. A repeated call with the same key returns the same fleet."""
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        body = request.model_dump(mode="json")
        return await self._client.request(Fleet, "POST", "/v1/fleets", json=body, headers=headers)

    async def plan(self, request: FleetRequest) -> FleetPlan:
        """Return the models that are selected now, and their groups. Nothing is queued."""
        return await self._client.request(FleetPlan, "POST", "/v1/fleets:plan", json=request.model_dump(mode="json"))

    async def get(self, fleet_id: str) -> Fleet:
        """Return the current state of a fleet."""
        return await self._client.request(Fleet, "GET", f"/v1/fleets/{fleet_id}")

    async def list(self, **filters: Any) -> AsyncIterator[Fleet]:
        """Iterate over fleets, newest first."""
        async for fleet in self._client.paginate(Page[Fleet], "/v1/fleets", filters):
            yield fleet

    async def targets(self, fleet_id: str) -> AsyncIterator[FleetTarget]:
        """Iterate over the targets of a fleet, by model."""
        path = f"/v1/fleets/{fleet_id}/targets"
        async for target in self._client.paginate(Page[FleetTarget], path, {"limit": 1000}):
            yield target

    async def cancel(self, fleet_id: str) -> Fleet:
        """Cancel the edits that have not ended."""
        return await self._client.request(Fleet, "POST", f"/v1/fleets/{fleet_id}/cancel")

    async def statement(self, fleet_id: str) -> bytes:
        """Return the signed statement: DSSE envelopes, one a line."""
        response = await self._client.send("GET", f"/v1/fleets/{fleet_id}/statement")
        raise_for_problem(response)
        return response.content

    async def wait(self, fleet_id: str, on_change: Callable[[Fleet], object] = lambda fleet: None) -> Fleet:
        """Wait until all targets have ended and the statement is signed."""
        while True:
            fleet = await self.get(fleet_id)
            on_change(fleet)
            if fleet.finished_at:
                return fleet
            await asyncio.sleep(POLL_SECONDS)
