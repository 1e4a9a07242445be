"""Build the FastAPI application: routes, error handlers and middleware."""

from fastapi import FastAPI
from starlette.types import ASGIApp

from api_schemas.problems import Problem
from service.api import openapi, problem_details, webhook_messages
from service.api.auth import Authenticator
from service.api.metrics import Metrics, MetricsMiddleware
from service.api.middleware import (
    ApiKeyMiddleware,
    BodyLimitMiddleware,
    PagesMiddleware,
    RateLimitMiddleware,
    RequestIdMiddleware,
)
from service.api.rate_limit import RateLimiter
from service.api.readiness import Readiness
from service.api.request_batching import BatchedCalls
from service.api.routes import (
    api_keys,
    artifacts,
    audit,
    batches,
    calibrations,
    case_decisions,
    case_statements,
    cases,
    comparisons,
    contract,
    dry_runs,
    edits,
    events,
    features,
    fleets,
    health,
    hub,
    ledger,
    metrics,
    models,
    operations,
    previews,
    samples,
    steering,
    webhooks,
)
from service.core.app_state import AppState
from service.core.cases.bases import load_rules
from service.settings import VERSION

PROBLEM = {"model": Problem, "description": "An RFC 9457 problem."}


def create_app(app_state: AppState, pages: ASGIApp | None = None) -> FastAPI:
    """Create the application. FastAPI's interactive pages are off, because they load scripts from other hosts.

    Args:
        app_state: The state that all requests share.
        pages: Serves every path that is not the API's.
    """
    app = FastAPI(
        title="Expunge",
        version=VERSION,
        description="Remove concepts from text-to-image models, with an audit report.",
        openapi_url=None,  # routes.contract serves it
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=openapi.operation_id,
        responses={"4XX": PROBLEM, "5XX": PROBLEM},
    )
    load_rules(app_state.settings.case_bases)  # a wrong file is reported at start
    app.state.app_state = app_state
    app.state.batched_calls = BatchedCalls.from_app_state(app_state)
    app.state.readiness = Readiness.from_app_state(app_state)
    problem_details.install(app)
    app.include_router(health.router)
    app.include_router(contract.router)
    app.webhooks.include_router(webhook_messages.router)
    for module in (
        dry_runs,
        edits,
        events,
        previews,
        comparisons,
        samples,
        artifacts,
        batches,
        models,
        calibrations,
        features,
        steering,
        fleets,
        ledger,
        webhooks,
        audit,
        cases,
        case_decisions,
        case_statements,
        hub,
        api_keys,
        operations,
        metrics,
    ):
        app.include_router(module.router)
    openapi.install(app)
    settings = app_state.settings
    large_bodies = dict.fromkeys(("/v1/batches", "/v1/cases:decide"), settings.max_batch_bytes)
    # Middleware that is added last runs first.
    app.add_middleware(BodyLimitMiddleware, limit=settings.max_body_bytes, limit_by_path=large_bodies)
    app.add_middleware(RateLimitMiddleware, limiter=RateLimiter(settings.rate_limit))
    app.add_middleware(ApiKeyMiddleware, authenticator=Authenticator(app_state.database, app_state.clock))
    if pages is not None:
        app.add_middleware(PagesMiddleware, api_roots=_path_roots(app), pages=pages)
    app.state.metrics = Metrics(app_state.database, app_state.clock)
    app.add_middleware(MetricsMiddleware, metrics=app.state.metrics)
    app.add_middleware(RequestIdMiddleware)
    return app


def _path_roots(app: FastAPI) -> set[str]:
    """Return the first segment of each route's path, such as `v1`."""
    return {route.path.split("/")[1] for route in openapi.iter_routes(app)}
