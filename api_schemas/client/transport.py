"""What both clients share and neither waits for: errors in our words, names that stay in their folder, files in parts."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from api_schemas.errors import ClientError, DownloadCorrupted, ServiceUnreachable
from api_schemas.jobs import Artifact
from api_schemas.problems import Problem, ServiceProblem

DEFAULT_URL = "http://127.0.0.1:8484"
MAX_RECONNECTS = 20
"""How often a broken stream is resumed in a row before the client gives up; some 40 seconds."""
MAX_TRIES = 5
"""How often a request is sent that the service could not take just then, or whose reply was lost."""
MAX_RETRY_DELAY_SECONDS = 60.0
RETRYABLE_STATUS_CODES = {httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE}

Parsed = TypeVar("Parsed", bound=BaseModel)


def auth_headers(api_key: str) -> dict[str, str]:
    """That go with every request."""
    return {"Authorization": f"Bearer {api_key}"} if api_key else {}


@contextmanager
def translate_transport_errors(url: str) -> Iterator[None]:
    """Transport errors in our own words."""
    try:
        yield
    except httpx.TransportError as error:
        raise ServiceUnreachable(
            f"cannot reach {url}: {error or type(error).__name__}.", remedy="Start it with: expunge up"
        ) from error


def raise_for_problem(response: httpx.Response) -> None:
    """Raise what the service answers, unless it is a success. Its body has been read."""
    if response.is_success:
        return
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError as error:
        raise ClientError(f"{response.url} answered {response.status_code}, no problem+json.") from error
    raise ServiceProblem(problem)


def parse(kind: type[Parsed], response: httpx.Response, url: str) -> Parsed:
    """The body as what it should be. Raises `ClientError`."""
    raise_for_problem(response)
    try:
        return kind.model_validate_json(response.content)
    except ValidationError as error:
        raise ClientError(f"{url} is not an Expunge service.", remedy="Check the URL.") from error


def retry_delay(method: str, headers: Mapping[str, str], response: httpx.Response | None, tried: int) -> float | None:
    """Seconds to wait before sending the same again; None: don't.

    Only what may be sent twice is: a GET, or what carries its Idempotency-Key.
    """
    repeatable = method == "GET" or "Idempotency-Key" in headers
    if (
        not repeatable
        or tried >= MAX_TRIES
        or (response is not None and response.status_code not in RETRYABLE_STATUS_CODES)
    ):
        return None
    asked = response.headers.get("Retry-After", "") if response is not None else ""
    return min(float(asked), MAX_RETRY_DELAY_SECONDS) if asked.isdecimal() else min(0.1 * 2**tried, 2.0)


def safe_path(name: str) -> PurePosixPath:
    """The artifact's name as a path that cannot leave the folder, whatever the service says."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ClientError(f'the service names an artifact "{name}", which lies outside of the folder.')
    return path


class PartialDownload:
    """A file on its way: what has come of it stays beside its place, and the next try goes on from there."""

    def __init__(self, artifact: Artifact, folder: Path) -> None:
        self._artifact = artifact
        self.target = folder / safe_path(artifact.name)
        self._path = self.target.with_name(f".{self.target.name}.{artifact.sha256[:16]}.part")
        self.target.parent.mkdir(parents=True, exist_ok=True)

    @property
    def size(self) -> int:
        """Bytes that are here."""
        return self._path.stat().st_size if self._path.exists() else 0

    @property
    def complete(self) -> bool:
        """Whether nothing is left to fetch."""
        return self.size >= self._artifact.size > 0

    def headers(self) -> dict[str, str]:
        """That ask for what is missing, if the file is still the same one."""
        return {"Range": f"bytes={self.size}-", "If-Range": f'"{self._artifact.sha256}"'} if self.size else {}

    @contextmanager
    def receiving(self, response: httpx.Response) -> Iterator[IO[bytes]]:
        """Where the reply's bytes go: after what is here, or in its place."""
        partial = response.status_code == httpx.codes.PARTIAL_CONTENT
        with self._path.open("ab" if partial else "wb") as file:
            yield file

    def finish(self) -> Path:
        """Check it and put it in its place. Raises `DownloadCorrupted`, and then leaves nothing."""
        with self._path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != self._artifact.sha256:
            self._path.unlink()
            raise DownloadCorrupted(f"{self._artifact.name} arrived damaged.", remedy="Download it again.")
        if self._artifact.kind == "private":
            self._path.chmod(0o600)
        self._path.replace(self.target)
        return self.target


def query_params(filters: Mapping[str, Any]) -> dict[str, Any]:
    """Filters as a query: those that are not set are left out."""
    return {name: value for name, value in filters.items() if value is not None}
