"""Liveness and readiness. No API key is required, because orchestrators have none."""

from fastapi import APIRouter, Response

from api_schemas.jobs import Health
from service.api.dependencies import ReadinessDep
from service.settings import VERSION

router = APIRouter(tags=["health"])


@router.get("/healthz", summary="Liveness")
async def healthz() -> Health:
    """Return 200 while the process responds."""
    return Health(status="ok", version=VERSION)


@router.get("/readyz", summary="Readiness", responses={503: {"model": Health}})
async def readyz(response: Response, readiness: ReadinessDep) -> Health:
    """Return 200 if the database, the broker and the artifact store respond, else 503."""
    checks = await readiness.check()
    ready = all(outcome == "ok" for outcome in checks.values())
    response.status_code = 200 if ready else 503
    return Health(status="ok" if ready else "unavailable", version=VERSION, checks=checks)
