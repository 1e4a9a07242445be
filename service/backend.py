"""What a route works with, built once per application."""

import threading
from dataclasses import dataclass, field
from typing import Annotated, cast

from fastapi import Depends, Request

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

    def authenticate(self, key: str) -> str | None:
        """The id of a known API key."""
        with self.database.read() as session:
            return keys.authenticate(session, key)


def _backend(request: Request) -> Backend:
    return cast(Backend, request.app.state.backend)


def _api_key_id(request: Request) -> str:
    return cast(str, request.state.api_key_id)


BackendDep = Annotated[Backend, Depends(_backend)]
ApiKeyId = Annotated[str, Depends(_api_key_id)]
