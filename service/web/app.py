"""The application that serves the web pages, and the site: API and pages together."""

from fastapi import FastAPI

from service.api import problem_details
from service.api.app import create_app
from service.api.middleware import BodyLimitMiddleware, RateLimitMiddleware
from service.api.rate_limit import RateLimiter
from service.core.app_state import AppState
from service.web.errors import error_page
from service.web.routes import (
    admin,
    admin_keys,
    admin_models,
    admin_operations,
    admin_webhooks,
    case,
    cases,
    compare,
    features,
    fleets,
    jobs,
    ledger,
    remove,
    report,
    sign_in,
    static,
    steering,
    try_page,
)
from service.web.security import CrossSiteMiddleware, SecurityHeadersMiddleware
from service.web.sessions import SessionMiddleware

PAGES = (
    admin,
    admin_keys,
    admin_models,
    admin_operations,
    admin_webhooks,
    cases,  # before case: `/cases/new` is not an id
    case,
    jobs,
    fleets,
    remove,
    report,
    compare,
    try_page,
    ledger,
    steering,  # before features: `steer` is no latent
    features,
    sign_in,
    static,
)
"""The modules with routers. A new page adds its module here and its entry in `service.web.navigation`."""


def create_site(app_state: AppState) -> FastAPI:
    """Create the API with the pages below `/`."""
    pages = create_pages(app_state)
    site = create_app(app_state, pages=SecurityHeadersMiddleware(pages))  # outermost: also around the error handlers
    pages.state = site.state  # the dependencies of the API's routes work in pages too
    return site


def create_pages(app_state: AppState) -> FastAPI:
    """Create the application of the pages."""
    pages = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    problem_details.install(pages, error_page)
    for module in PAGES:
        pages.include_router(module.router)
    settings = app_state.settings
    # Middleware that is added last runs first.
    pages.add_middleware(BodyLimitMiddleware, limit=settings.max_batch_bytes, respond=error_page)
    pages.add_middleware(RateLimitMiddleware, limiter=RateLimiter(settings.rate_limit), respond=error_page)
    pages.add_middleware(SessionMiddleware, app_state=app_state)
    pages.add_middleware(CrossSiteMiddleware)
    return pages
