"""Parts of the client without I/O waits: errors, safe paths, resumable downloads, retry rules."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from api_schemas.calibrations import Calibration
from api_schemas.errors import ClientError, DownloadCorrupted, JobFailed, ServiceUnreachable
from api_schemas.jobs import Artifact, Edit, Model
from api_schemas.previews import Preview
from api_schemas.problems import Problem, ServiceProblem

DEFAULT_URL = "http://127.0.0.1:8484"
MAX_RECONNECTS = 20
"""How many times in a row a lost stream is reconnected; about 40 seconds."""
MAX_TRIES = 5
"""Maximum number of attempts of a request that the service could not take or whose response was lost."""
MAX_RETRY_DELAY_SECONDS = 60.0
POLL_SECONDS = 0.5
"""Seconds between two requests for something that has no event stream."""
RETRYABLE_STATUS_CODES = {httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE}

Parsed = TypeVar("Parsed", bound=BaseModel)


def auth_headers(api_key: str) -> dict[str, str]:
    """Return the headers of every request."""
    return {"Authorization": f"Bearer {api_key}"} if api_key else {}


@contextmanager
def translate_transport_errors(url: str) -> Iterator[None]:
    """Translate httpx's transport errors."""
    try:
        yield
    except httpx.TransportError as error:
        raise ServiceUnreachable(
            f"Cannot reach {url}: {error or type(error).__name__}.", remedy="Start it with: expunge up"
        ) from error


def raise_for_problem(response: httpx.Response) -> None:
    """Raise the problem of an unsuccessful response, whose body must have been read."""
    if response.is_success:
        return
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError as error:
        raise ClientError(f"{response.url} answered {response.status_code} without a problem document.") from error
    raise ServiceProblem(problem)


def raise_unless_succeeded(job: Edit | Calibration | Preview) -> None:
    """Raise `JobFailed` for a job that has ended without success."""
    if job.status != "succeeded":
        reason = job.error.message if job.error else "no worker finished it."
        raise JobFailed(f"{job.id} {job.status}: {reason}", field=job.error.param if job.error else None)


def raise_unless_read(model: Model) -> None:
    """Raise `JobFailed` for a model that is refused, or that no worker has read yet."""
    if model.status in ("refused", "registering"):
        reason = model.error.message if model.error else "no worker has read it."
        raise JobFailed(f"{model.id} is {model.status}: {reason}", field=model.error.param if model.error else None)


def parse(kind: type[Parsed], response: httpx.Response, url: str) -> Parsed:
    """Parse the body of a response. Raises `ClientError`."""
    raise_for_problem(response)
    try:
        return kind.model_validate_json(response.content)
    except ValidationError as error:
        raise ClientError(f"{url} is not an Expunge service.", remedy="Check the URL.") from error


def retry_delay(method: str, headers: Mapping[str, str], response: httpx.Response | None, attempt: int) -> float | None:
    """Return the seconds to wait before the next attempt, or None if the request must not be repeated.

    Only GET requests and requests with an Idempotency-Key are repeated.
    """
    is_repeatable = method == "GET" or "Idempotency-Key" in headers
    if (
        not is_repeatable
        or attempt >= MAX_TRIES
        or (response is not None and response.status_code not in RETRYABLE_STATUS_CODES)
    ):
        return None
    retry_after = response.headers.get("Retry-After", "") if response is not None else ""
    return min(float(retry_after), MAX_RETRY_DELAY_SECONDS) if retry_after.isdecimal() else min(0.1 * 2**attempt, 2.0)


def safe_path(name: str) -> PurePosixPath:
    """Return the artifact's name as a path inside the folder. Raises `ClientError` if it would leave it."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ClientError(f'The service names an artifact "{name}", which is outside of the folder.')
    return path


class PartialDownload:
    """A partially downloaded file. Its bytes are kept next to the target, so that the next attempt resumes it."""

    def __init__(self, artifact: Artifact, folder: Path) -> None:
        self._artifact = artifact
        self.target = folder / safe_path(artifact.name)
        self._path = self.target.with_name(f".{self.target.name}.{artifact.sha256[:16]}.part")
        self.target.parent.mkdir(parents=True, exist_ok=True)

    @property
    def size(self) -> int:
        """Number of bytes downloaded so far."""
        return self._path.stat().st_size if self._path.exists() else 0

    @property
    def complete(self) -> bool:
        """Whether the download is complete."""
        return self.size >= self._artifact.size > 0

    def headers(self) -> dict[str, str]:
        """Return the headers that request the missing bytes, if the file is unchanged."""
        return {"Range": f"bytes={self.size}-", "If-Range": f'"{self._artifact.sha256}"'} if self.size else {}

    @contextmanager
    def receiving(self, response: httpx.Response) -> Iterator[IO[bytes]]:
        """Open the file for the response's bytes, appending to a partial response."""
        partial = response.status_code == httpx.codes.PARTIAL_CONTENT
        with self._path.open("ab" if partial else "wb") as file:
            yield file

    def finish(self) -> Path:
        """Verify the digest and move the file to its target. Raises `DownloadCorrupted` after deleting a corrupt file."""
        with self._path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != self._artifact.sha256:
            self._path.unlink()
            raise DownloadCorrupted(
                f"{self._artifact.name} was corrupted during the download.", remedy="Download it again."
            )
        if self._artifact.kind == "private":
            self._path.chmod(0o600)
        self._path.replace(self.target)
        return self.target


def query_params(filters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the filters that are set, as query parameters."""
    return {name: value for name, value in filters.items() if value is not None}
