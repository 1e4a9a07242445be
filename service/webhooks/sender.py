"""Sends one webhook message once."""

import time
from dataclasses import dataclass
from datetime import datetime

import httpx

from service.errors import WebhookRefused
from service.webhooks.signing import WebhookSigner

TIMEOUT = httpx.Timeout(15.0, connect=5.0)
MAX_ATTEMPT_SECONDS = 20.0
"""Time limit of a whole attempt, in seconds, however slowly the endpoint answers."""
MAX_READ_BYTES, MAX_STORED_BYTES = 65_536, 2048
"""How many bytes of a reply are read, and how many are stored."""
STATUS_GONE = 410


@dataclass(frozen=True)
class AttemptResult:
    """The result of a delivery attempt."""

    status_code: int | None
    error: str | None
    seconds: float
    reply: str = ""
    retry_after: float = 0.0
    """The endpoint's `Retry-After`, in seconds."""

    @property
    def delivered(self) -> bool:
        """Whether the endpoint answered 2xx. Redirects count as failures."""
        return self.status_code is not None and 200 <= self.status_code < 300


def send(
    transport: httpx.BaseTransport, url: str, signer: WebhookSigner, message_id: str, body: bytes, now: datetime
) -> AttemptResult:
    """POST a message, signed as of `now`. Failures of the endpoint are returned, not raised.

    The client is not closed, because attempts share the transport and closing it would abort the others.
    """
    headers = {"content-type": "application/json", "user-agent": "Expunge-Webhooks/1", "accept-encoding": "identity"}
    started = time.monotonic()
    http = httpx.Client(transport=transport, timeout=TIMEOUT, follow_redirects=False, trust_env=False)
    try:
        signed = headers | signer.headers(message_id, now, body)
        with http.stream("POST", url, content=body, headers=signed) as response:
            reply = _read_reply(response, started)
    except (httpx.HTTPError, httpx.InvalidURL, WebhookRefused, OSError) as error:
        return AttemptResult(None, _describe_error(error), _elapsed_seconds(started))
    return AttemptResult(response.status_code, None, _elapsed_seconds(started), reply, _retry_after(response))


def _read_reply(response: httpx.Response, started: float) -> str:
    """Read the part of the reply that is stored. Raises `httpx.ReadTimeout` if the endpoint keeps sending for too long."""
    content = b""
    for chunk in response.iter_raw():
        content += chunk
        if len(content) >= MAX_READ_BYTES:
            break
        if _elapsed_seconds(started) > MAX_ATTEMPT_SECONDS:
            raise httpx.ReadTimeout("the reply does not end")
    return content[:MAX_STORED_BYTES].decode(errors="replace").replace("\x00", "\N{REPLACEMENT CHARACTER}")


def _describe_error(error: Exception) -> str:
    """Describe the error without details that could reveal the internal network."""
    return error.message if isinstance(error, WebhookRefused) else type(error).__name__


def _retry_after(response: httpx.Response) -> float:
    """Return `Retry-After` in seconds, at most a day; 0 if it is missing or is a date."""
    value = response.headers.get("retry-after", "")
    return min(float(value), 86_400.0) if value.isascii() and value.isdecimal() else 0.0


def _elapsed_seconds(started: float) -> float:
    return round(time.monotonic() - started, 3)
