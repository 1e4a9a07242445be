"""The application: middleware outside, routes inside."""

from fastapi import FastAPI

from api_schemas.problems import Problem
from service.api import openapi, problem_details
from service.api.auth import KeyRing
from service.api.metrics import Measure, Metrics
from service.api.middleware import LimitBody, LimitRate, RequestId, RequireApiKey
from service.api.rate_limit import RateLimit
from service.api.request_batching import Together
from service.api.routes import (
    artifacts,
    audit,
    batches,
    dry_runs,
    edits,
    events,
    health,
    hub,
    ledger,
    metrics,
    models,
    webhooks,
)
from service.core.app_state import Backend
from service.settings import VERSION

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
    problem_details.install(app)
    app.include_router(health.router)
    for module in (dry_runs, edits, events, artifacts, batches, models, ledger, webhooks, audit, hub, metrics):
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
