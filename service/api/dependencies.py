"""FastAPI dependencies that give routes the application's state and its batched calls."""

from typing import Annotated, cast

from fastapi import Depends, Request

from service.api.readiness import Readiness
from service.api.request_batching import BatchedCalls
from service.core.app_state import AppState


async def _app_state(request: Request) -> AppState:
    return cast(AppState, request.app.state.app_state)


async def _batched_calls(request: Request) -> BatchedCalls:
    return cast(BatchedCalls, request.app.state.batched_calls)


async def _readiness(request: Request) -> Readiness:
    return cast(Readiness, request.app.state.readiness)


AppStateDep = Annotated[AppState, Depends(_app_state)]
BatchedCallsDep = Annotated[BatchedCalls, Depends(_batched_calls)]
ReadinessDep = Annotated[Readiness, Depends(_readiness)]
