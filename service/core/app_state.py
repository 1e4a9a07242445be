"""What a route works with, built once per application."""

import threading
from dataclasses import dataclass, field
from typing import Annotated, cast

from fastapi import Depends, Request

from service.core.digest_cache import FileDigests
from service.core.overlay_reader import OverlayFiles
from service.core.token_limits import PhraseCheck
from service.settings import ServiceSettings
from service.store.base_models import ModelRegistry
from service.store.blobs import ArtifactStore
from service.store.clock import Clock, utc_now
from service.store.database import Database


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


async def _backend(request: Request) -> Backend:
    return cast(Backend, request.app.state.backend)


BackendDep = Annotated[Backend, Depends(_backend)]
