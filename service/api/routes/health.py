"""Is the process alive, and can it do its work? Open to everybody: an orchestrator has no key."""

from collections.abc import Callable

from fastapi import APIRouter, Response
from kombu import Connection

from api_schemas.jobs import Health
from service.core.app_state import Backend, BackendDep
from service.settings import VERSION

router = APIRouter(tags=["health"])


@router.get("/healthz", summary="Alive")
def healthz() -> Health:
    """The process answers."""
    return Health(status="ok", version=VERSION)


@router.get("/readyz", summary="Ready", responses={503: {"model": Health}})
def readyz(response: Response, backend: BackendDep) -> Health:
    """The database, the broker and the artifact store answer: what is accepted now will be done."""
    checks = {
        "database": _outcome(backend.database.check),
        "broker": _outcome(lambda: _reach_broker(backend)),
        "blobs": _outcome(backend.blobs.check),
    }
    ready = all(outcome == "ok" for outcome in checks.values())
    response.status_code = 200 if ready else 503
    return Health(status="ok" if ready else "unavailable", version=VERSION, checks=checks)


def _outcome(check: Callable[[], object]) -> str:
    """`ok`, or the kind of failure; its text may hold a password."""
    try:
        check()
    except Exception as error:
        return type(error).__name__
    return "ok"


def _reach_broker(backend: Backend) -> None:
    with Connection(backend.settings.broker_url, transport_options={"socket_connect_timeout": 2}) as connection:
        connection.ensure_connection(max_retries=1, timeout=2)
