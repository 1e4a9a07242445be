"""Settings of the API, on top of those of the store."""

from pydantic import Field

from service.store.settings import StoreSettings


class ServiceSettings(StoreSettings):
    """Read from `EXPUNGE_*` variables."""

    max_body_bytes: int = Field(default=262_144, ge=1024, description="Larger request bodies are refused.")
    stream_poll_seconds: float = Field(default=0.5, gt=0, description="How often a stream looks for events.")
    stream_limit_seconds: float = Field(default=600.0, gt=0, description="Then a stream's client reconnects.")
