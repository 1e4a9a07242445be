"""The application: middleware outside, routes inside."""

from fastapi import FastAPI

from api_schemas.problems import Problem
from service import openapi, problems
from service.access import KeyRing
from service.backend import Backend
from service.limits import RateLimit
from service.metrics import Measure, Metrics
from service.middleware import LimitBody, LimitRate, RequestId, RequireApiKey
from service.routes import (
    artifacts,
    batches,
    edits,
    health,
    history,
    hub,
    ledger,
    metrics,
    models,
    plans,
    records,
    webhooks,
)
from service.together import Together
from service.version import VERSION

PROBLEM = {"model": Problem, "description": "An RFC 9457 problem."}


def create_app(backend: Backend) -> FastAPI:
    """The API on top of `backend`. The interactive pages are off: they load scripts from elsewhere."""
    app = FastAPI(
        title="Expunge",
        version=VERSION,
        description="Remove concepts from text-to-image models, with an audit report.",
        docs_url=None,
        redoc_url=None,
        responses={"4XX": PROBLEM, "5XX": PROBLEM},
    )
    app.state.backend = backend
    app.state.together = Together.of(backend)
    problems.install(app)
    app.include_router(health.router)
    for module in (plans, edits, history, artifacts, batches, models, ledger, webhooks, records, hub, metrics):
        app.include_router(module.router)
    # The last one added is the outermost.
    openapi.install(app)
    settings = backend.settings
    app.add_middleware(LimitBody, limit=settings.max_body_bytes, larger={"/v1/batches": settings.max_batch_bytes})
    app.add_middleware(LimitRate, limit=RateLimit(backend.settings.rate_limit))
    app.add_middleware(RequireApiKey, keys=KeyRing(backend.database, backend.clock))
    app.state.metrics = Metrics(backend.database, backend.clock)
    app.add_middleware(Measure, metrics=app.state.metrics)
    app.add_middleware(RequestId)
    return app
