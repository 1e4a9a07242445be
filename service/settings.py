"""Settings of the API, in addition to those of the store."""

from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

from limits import parse
from pydantic import AfterValidator, Field

from service.store.settings import StoreSettings

try:
    VERSION = version("expunge")
except PackageNotFoundError:  # a checkout that is not installed
    VERSION = "0+unknown"


def _validate_rate_limit(text: str) -> str:
    """Validate the rate limit at start-up."""
    if text:
        parse(text)
    return text


class ServiceSettings(StoreSettings):
    """Settings that are read from `EXPUNGE_*` variables."""

    max_body_bytes: int = Field(default=262_144, ge=1024, description="Maximum size of a request body in bytes.")
    stream_poll_seconds: float = Field(default=0.5, gt=0, description="Seconds between two polls of an event stream.")
    stream_limit_seconds: float = Field(
        default=600.0, gt=0, description="Seconds after which an event stream ends and its client reconnects."
    )
    rate_limit: Annotated[str, AfterValidator(_validate_rate_limit)] = Field(
        default="6000/minute", description="Requests that one API key may send. Empty: no limit."
    )
    require_idempotency_key: bool = Field(
        default=False, description="Reject requests that create a job without an Idempotency-Key."
    )
    max_unfinished_jobs: int = Field(
        default=0, ge=0, description="Maximum number of unfinished jobs of a tenant. 0: no limit."
    )
    max_batch_bytes: int = Field(
        default=4_194_304, ge=1024, description="Maximum size of a batch request's body in bytes."
    )
    plan_seconds: float = Field(
        default=60.0, gt=0, description="Time limit of a dry run in seconds, including the time in the queue."
    )
    webhook_allowed_hosts: list[str] = Field(
        default=[],
        description="JSON list of host:port of webhook receivers that may be private or use plain HTTP.",
    )
