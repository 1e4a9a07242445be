"""The typed client: submit a removal, follow it, download what it published.

    with Client("http://127.0.0.1:8484", api_key) as client:
        edit = client.submit(EditRequest(removals=[Removal(concept="fox", replacement="dog face")]))
        edit = client.wait(edit.id, on_event=print)
        paths = client.download_all(edit, Path("fox-free"))

Needs pydantic and httpx only.
"""

import hashlib
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from api_schemas.edits import EditRequest
from api_schemas.errors import ClientError, DownloadCorrupted, JobFailed, ServiceUnreachable
from api_schemas.events import DONE, Event
from api_schemas.jobs import Artifact, Edit, Model, Page
from api_schemas.problems import Problem, ServiceProblem
from api_schemas.report import AuditReport
from api_schemas.sse import messages

DEFAULT_URL = "http://127.0.0.1:8484"
RECONNECTS = 20
"""How often a broken stream is resumed in a row before the client gives up; some 40 seconds."""

Resource = TypeVar("Resource", bound=BaseModel)


class Client:
    """One service, one key. `transport` is a seam for tests: any httpx transport."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        api_key: str = "",
        *,
        timeout: float = 30.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.url = url
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def submit(self, request: EditRequest, *, idempotency_key: str | None = None) -> Edit:
        """Queue a job. The key makes a repeated call, after a lost reply, return the same job."""
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        return self._send(Edit, "POST", "/v1/edits", json=request.model_dump(mode="json"), headers=headers)

    def get(self, edit_id: str) -> Edit:
        """The job as it is now."""
        return self._send(Edit, "GET", f"/v1/edits/{edit_id}")

    def list_edits(self, **filters: str | int) -> Page[Edit]:
        """A page of jobs, newest first. Filters: status, model, limit, after."""
        return self._send(Page[Edit], "GET", "/v1/edits", params=filters)

    def cancel(self, edit_id: str) -> Edit:
        """Ask the job to stop. Harmless when it has ended."""
        return self._send(Edit, "POST", f"/v1/edits/{edit_id}/cancel")

    def models(self) -> Page[Model]:
        """The base models that this service can edit."""
        return self._send(Page[Model], "GET", "/v1/models")

    def events(self, edit_id: str, after: int = 0) -> Page[Event]:
        """A page of the job's history, oldest first."""
        return self._send(Page[Event], "GET", f"/v1/edits/{edit_id}/events", params={"after": after})

    def follow(self, edit_id: str, after: int = 0) -> Iterator[Event]:
        """Each event once, in order, from `after` to the last one. Broken connections are resumed."""
        attempts = 0
        while attempts < RECONNECTS:
            try:
                for event in self._stream(edit_id, after):
                    if event is None:
                        return
                    after, attempts = event.seq, 0
                    yield event
            except ServiceUnreachable:
                attempts += 1
            time.sleep(min(0.1 * 2**attempts, 2.0))
        raise ServiceUnreachable(f"lost the connection to {self.url}.", remedy="Is it still running?")

    def wait(self, edit_id: str, on_event: Callable[[Event], None] = lambda event: None) -> Edit:
        """Follow the job to its end and return it. Raises `JobFailed` unless it succeeded."""
        for event in self.follow(edit_id):
            on_event(event)
        edit = self.get(edit_id)
        if edit.status != "succeeded":
            reason = edit.error.message if edit.error else "no worker brought it to an end."
            field = edit.error.param if edit.error else None
            raise JobFailed(f"{edit.id} {edit.status}: {reason}", field=field)
        return edit

    def download(self, artifact: Artifact, folder: Path) -> Path:
        """Write one artifact below `folder`, whole or not at all. Raises `DownloadCorrupted`."""
        target = folder / _inside(artifact.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.part")
        digest = hashlib.sha256()
        with self._fetch(artifact.url) as chunks, partial.open("wb") as file:
            for chunk in chunks:
                digest.update(chunk)
                file.write(chunk)
        if digest.hexdigest() != artifact.sha256:
            partial.unlink()
            raise DownloadCorrupted(f"{artifact.name} arrived damaged.", remedy="Download it again.")
        partial.replace(target)
        return target

    def download_all(self, edit: Edit, folder: Path, without: Collection[str] = ()) -> list[Path]:
        """Write the whole bundle below `folder`, but for the kinds of files in `without`."""
        return [self.download(artifact, folder) for artifact in edit.artifacts if artifact.kind not in without]

    def report(self, edit_id: str) -> AuditReport:
        """The audit report."""
        return self._send(AuditReport, "GET", f"/v1/edits/{edit_id}/report.json")

    def _send(self, kind: type[Resource], method: str, path: str, **options: Any) -> Resource:
        with _reachable(self.url):
            response = self._http.request(method, path, **options)
        _raise_for_problem(response)
        try:
            return kind.model_validate_json(response.content)
        except ValidationError as error:
            raise ClientError(f"{self.url} is not an Expunge service.", remedy="Check the URL.") from error

    def _stream(self, edit_id: str, after: int) -> Iterator[Event | None]:
        """One connection's worth of events; None at the end of the job."""
        headers = {"Last-Event-ID": str(after), "Accept": "text/event-stream"}
        path = f"/v1/edits/{edit_id}/stream"
        with _reachable(self.url), self._http.stream("GET", path, headers=headers) as response:
            _raise_for_problem(response)
            if response.status_code == httpx.codes.NO_CONTENT:
                yield None
            for message in messages(response.iter_lines()):
                yield None if message.event == DONE else Event.model_validate_json(message.data)

    @contextmanager
    def _fetch(self, path: str) -> Iterator[Iterator[bytes]]:
        with _reachable(self.url), self._http.stream("GET", path, follow_redirects=True) as response:
            _raise_for_problem(response)
            yield response.iter_bytes()


@contextmanager
def _reachable(url: str) -> Iterator[None]:
    """Transport errors in our own words."""
    try:
        yield
    except httpx.TransportError as error:
        raise ServiceUnreachable(
            f"cannot reach {url}: {error or type(error).__name__}.", remedy="Start it with: expunge up"
        ) from error


def _raise_for_problem(response: httpx.Response) -> None:
    if response.is_success:
        return
    response.read()
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError as error:
        raise ClientError(f"{response.url} answered {response.status_code}, no problem+json.") from error
    raise ServiceProblem(problem)


def _inside(name: str) -> PurePosixPath:
    """The artifact's name as a path that cannot leave the folder, whatever the service says."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ClientError(f'the service names an artifact "{name}", which lies outside of the folder.')
    return path
