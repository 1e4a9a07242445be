"""What a route works with, built once per application."""

import threading
from dataclasses import dataclass, field
from typing import Annotated, cast

from fastapi import Depends, Request

from api_schemas.access import DEFAULT_TENANT, SCOPES
from service.access import Caller
from service.overlays import OverlayFiles
from service.phrases import PhraseCheck
from service.settings import ServiceSettings
from service.store import keys
from service.store.blobs import ArtifactStore
from service.store.clock import Clock, utc_now
from service.store.database import Database
from service.store.models import ModelRegistry


@dataclass(frozen=True)
class Backend:
    """The store and its neighbours. `closing` is set when the process is about to stop: streams end."""

    settings: ServiceSettings
    database: Database
    blobs: ArtifactStore
    registry: ModelRegistry
    phrases: PhraseCheck
    overlays: OverlayFiles
    clock: Clock = utc_now
    closing: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def from_settings(cls, settings: ServiceSettings, clock: Clock = utc_now) -> "Backend":
        """Everything that the settings name."""
        registry, blobs = settings.registry(), settings.blobs()
        phrases, overlays = PhraseCheck(registry), OverlayFiles(blobs)
        return cls(settings, settings.database(), blobs, registry, phrases, overlays, clock=clock)

    def authenticate(self, key: str) -> Caller | None:
        """Whom a known API key stands for."""
        with self.database.read() as session:
            key_id = keys.authenticate(session, key)
        return Caller(key_id, DEFAULT_TENANT, frozenset(SCOPES)) if key_id else None


def _backend(request: Request) -> Backend:
    return cast(Backend, request.app.state.backend)


def _api_key_id(request: Request) -> str:
    return cast(Caller, request.state.caller).key_id


BackendDep = Annotated[Backend, Depends(_backend)]
ApiKeyId = Annotated[str, Depends(_api_key_id)]
