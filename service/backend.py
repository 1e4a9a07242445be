"""What a route works with, built once per application."""

import threading
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated, cast

from fastapi import Depends, Request

from service.access import Caller
from service.digests import FileDigests
from service.overlays import OverlayFiles
from service.phrases import PhraseCheck
from service.settings import ServiceSettings
from service.store import keys
from service.store.blobs import ArtifactStore
from service.store.clock import Clock, utc_now
from service.store.database import Database
from service.store.models import ModelRegistry

NOTED_EVERY = timedelta(minutes=1)
"""How closely the last use of a key is known: a write for every request would be too dear."""


@dataclass(frozen=True)
class Backend:
    """The store and its neighbours. `closing` is set when the process is about to stop: streams end."""

    settings: ServiceSettings
    database: Database
    blobs: ArtifactStore
    registry: ModelRegistry
    phrases: PhraseCheck
    overlays: OverlayFiles
    digests: FileDigests
    clock: Clock = utc_now
    closing: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def from_settings(cls, settings: ServiceSettings, clock: Clock = utc_now) -> "Backend":
        """Everything that the settings name."""
        registry, blobs = settings.registry(), settings.blobs()
        digests = FileDigests()
        phrases, overlays = PhraseCheck(registry), OverlayFiles(blobs, digests)
        return cls(settings, settings.database(), blobs, registry, phrases, overlays, digests, clock=clock)

    def authenticate(self, key: str) -> Caller | None:
        """Whom a key stands for that holds now."""
        now = self.clock()
        with self.database.read() as session:
            found = keys.authenticate(session, key, now=now)
        if found is None:
            return None
        if found.last_used_at is None or now - found.last_used_at > NOTED_EVERY:
            with self.database.write() as session:
                keys.used(session, found.id, now=now)
        return Caller(found.id, found.tenant, frozenset(found.scopes))


def _backend(request: Request) -> Backend:
    return cast(Backend, request.app.state.backend)


BackendDep = Annotated[Backend, Depends(_backend)]
