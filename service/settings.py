"""Settings of the API, on top of those of the store."""

from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

from limits import parse
from pydantic import AfterValidator, Field

from service.store.settings import StoreSettings

try:
    VERSION = version("expunge")
except PackageNotFoundError:  # a checkout that is not installed
    VERSION = "0+unknown"


def _a_rate(text: str) -> str:
    """Refuse at start what could not be counted later."""
    if text:
        parse(text)
    return text


class ServiceSettings(StoreSettings):
    """Read from `EXPUNGE_*` variables."""

    max_body_bytes: int = Field(default=262_144, ge=1024, description="Larger request bodies are refused.")
    stream_poll_seconds: float = Field(default=0.5, gt=0, description="How often a stream looks for events.")
    stream_limit_seconds: float = Field(default=600.0, gt=0, description="Then a stream's client reconnects.")
    rate_limit: Annotated[str, AfterValidator(_a_rate)] = Field(
        default="6000/minute", description="Requests that one API key may send. Empty: as many as it likes."
    )
    require_idempotency_key: bool = Field(
        default=False, description="Whether requests that make a job are refused without an Idempotency-Key."
    )
    max_unfinished_jobs: int = Field(
        default=0, ge=0, description="Jobs of one tenant that may be queued or at work at a time. 0: any number."
    )
    max_batch_bytes: int = Field(default=4_194_304, ge=1024, description="Larger bodies of batches are refused.")
    plan_seconds: float = Field(default=60.0, gt=0, description="How long a dry run may take, its waiting included.")
    webhook_allowed_hosts: list[str] = Field(
        default=[],
        description="Receivers that are called although they are not public or not https: host:port, as JSON.",
    )
