"""The application state: the store, the model registry and the caches that all requests share."""

import threading
from dataclasses import dataclass, field

from service.core.digest_cache import DigestCache
from service.core.feature_index import FeatureIndexReader
from service.core.overlay_reader import OverlayReader
from service.core.token_limits import TokenLimitValidator
from service.settings import ServiceSettings
from service.store.base_models import ModelRegistry
from service.store.blobs import ArtifactStore
from service.store.clock import Clock, utc_now
from service.store.database import Database


@dataclass(frozen=True)
class AppState:
    """Created once per application. `shutting_down` is set when the process is about to stop, which ends event streams."""

    settings: ServiceSettings
    database: Database
    blobs: ArtifactStore
    registry: ModelRegistry
    token_limits: TokenLimitValidator
    overlays: OverlayReader
    digests: DigestCache
    feature_indexes: FeatureIndexReader
    clock: Clock = utc_now
    shutting_down: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def from_settings(cls, settings: ServiceSettings, clock: Clock = utc_now) -> "AppState":
        """Connect to the database, blobs and models that the settings name."""
        registry, blobs = settings.registry(), settings.blobs()
        digests = DigestCache()
        token_limits, overlays = TokenLimitValidator(registry), OverlayReader(blobs, digests)
        features = FeatureIndexReader(blobs)
        return cls(settings, settings.database(), blobs, registry, token_limits, overlays, digests, features, clock)
