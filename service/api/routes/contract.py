"""The OpenAPI document, for generators and for people. No API key is required: it describes every service alike."""

import json
from functools import cache

from fastapi import APIRouter, FastAPI, Request, Response

from service.api.contract_page import render_page
from service.api.openapi_schemas import render_for_generators

router = APIRouter(tags=["contract"], include_in_schema=False)

CONTRACT_PATH, FULL_CONTRACT_PATH, PAGE_PATH = "/openapi.json", "/openapi-3.2.json", "/docs"
PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


@router.get(CONTRACT_PATH)
def read_contract(request: Request) -> Response:
    """Return the document as OpenAPI 3.1, which client generators read."""
    return Response(_contract(request.app), media_type="application/json")


@router.get(FULL_CONTRACT_PATH)
def read_full_contract(request: Request) -> Response:
    """Return the document as OpenAPI 3.2, with the items of streams and the defaults of fields."""
    return Response(_full_contract(request.app), media_type="application/json")


@router.get(PAGE_PATH)
def read_page(request: Request) -> Response:
    """Return the document as a page without scripts."""
    headers = {"Content-Security-Policy": PAGE_POLICY, "X-Content-Type-Options": "nosniff"}
    return Response(_page(request.app), headers=headers, media_type="text/html")


@cache
def _contract(app: FastAPI) -> bytes:
    return json.dumps(render_for_generators(app.openapi())).encode()


@cache
def _full_contract(app: FastAPI) -> bytes:
    return json.dumps(app.openapi()).encode()


@cache
def _page(app: FastAPI) -> bytes:
    return render_page(app.openapi()).encode()
