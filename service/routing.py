"""The routes of an application, whatever routers they came with."""

from collections.abc import Iterable, Iterator
from typing import Any

from fastapi import FastAPI


def routes_of(app: FastAPI) -> Iterator[Any]:
    """Each route that has methods, with the path that it answers."""
    yield from _flat(app.routes)


def allowed_methods(app: FastAPI, path: str) -> list[str]:
    """What may be done at a path: a framework tells those of one of its routes alone."""
    return sorted({method for route in routes_of(app) if route.path_regex.match(path) for method in route.methods})


def _flat(routes: Iterable[Any]) -> Iterator[Any]:
    for route in routes:
        if inner := getattr(route, "effective_route_contexts", None):  # of an included router
            yield from _flat(inner())
        elif getattr(route, "methods", None):
            yield route
