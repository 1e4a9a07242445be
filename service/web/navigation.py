"""The main navigation: an entry for each page that exists and that the caller's scopes open."""

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import FastAPI

from service.api.openapi import iter_routes
from service.core.caller import Caller


@dataclass(frozen=True)
class NavigationEntry:
    """A link of the navigation. The caller needs one of the `scopes` to see it."""

    label: str
    path: str
    scopes: frozenset[str]


ENTRIES = (
    NavigationEntry("Remove", "/remove", frozenset({"edits:write"})),
    NavigationEntry("Jobs", "/jobs", frozenset({"edits:read"})),
    NavigationEntry("Compare", "/compare", frozenset({"artifacts:read"})),
    NavigationEntry("Report", "/report", frozenset({"artifacts:read"})),
    NavigationEntry("Try", "/try", frozenset({"edits:write"})),
    NavigationEntry("Ledger", "/ledger", frozenset({"ledger:read"})),
    NavigationEntry("Features", "/features", frozenset({"models:read"})),
    NavigationEntry("Cases", "/cases", frozenset({"cases:read"})),
    NavigationEntry("Fleets", "/fleets", frozenset({"edits:read"})),
    NavigationEntry("Admin", "/admin", frozenset({"webhooks:read", "models:read", "service:read"})),
)


def visible_entries(pages: FastAPI, caller: Caller | None) -> Sequence[NavigationEntry]:
    """Return the entries whose page exists and whose scope the caller has."""
    if caller is None:
        return ()
    paths = {route.path for route in iter_routes(pages)}
    return [entry for entry in ENTRIES if entry.path in paths and entry.scopes & caller.scopes]
