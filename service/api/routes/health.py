"""Liveness and readiness. No API key is required, because orchestrators have none."""

from collections.abc import Callable

from fastapi import APIRouter, Response
from kombu import Connection

from api_schemas.jobs import Health
from service.api.dependencies import AppStateDep
from service.core.app_state import AppState
from service.settings import VERSION

router = APIRouter(tags=["health"])


@router.get("/healthz", summary="Liveness")
def healthz() -> Health:
    """Return 200 while the process responds."""
    return Health(status="ok", version=VERSION)


@router.get("/readyz", summary="Readiness", responses={503: {"model": Health}})
def readyz(response: Response, app_state: AppStateDep) -> Health:
    """Return 200 if the database, the broker and the artifact store respond, else 503."""
    checks = {
        "database": _outcome(app_state.database.check),
        "broker": _outcome(lambda: _reach_broker(app_state)),
        "blobs": _outcome(app_state.blobs.check),
    }
    ready = all(outcome == "ok" for outcome in checks.values())
    response.status_code = 200 if ready else 503
    return Health(status="ok" if ready else "unavailable", version=VERSION, checks=checks)


def _outcome(check: Callable[[], object]) -> str:
    """Return `ok` or the type of the error. Its text is left out, because it can contain a password."""
    try:
        check()
    except Exception as error:
        return type(error).__name__
    return "ok"


def _reach_broker(app_state: AppState) -> None:
    with Connection(app_state.settings.broker_url, transport_options={"socket_connect_timeout": 2}) as connection:
        connection.ensure_connection(max_retries=1, timeout=2)
