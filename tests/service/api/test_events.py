"""Events as pages and as a stream that can be resumed without gaps."""

from datetime import timedelta

from fastapi.testclient import TestClient

from api_schemas.edits import EditRequest, Removal
from api_schemas.events import STREAM_END
from api_schemas.sse import EventStreamParser, StreamMessage
from service.core.app_state import AppState
from service.store import claims, jobs
from service.store.database import Database
from service.store.jobs import NewJob
from tests.fakes.clock import FakeClock


def finished(database: Database, clock: FakeClock, steps: int = 5) -> str:
    """Create a finished edit with `steps` + 3 events."""
    with database.write() as session:
        request = EditRequest(model="tiny", removals=[Removal(concept="fox")])
        edit_id = jobs.create(session, NewJob(request, "key"), now=clock()).id
        claim = claims.claim(session, edit_id, owner="w", lease=timedelta(seconds=30), now=clock())
        assert claim
        for step in range(steps):
            claims.report_progress(session, claim, "progress", "x", phase="edit", progress=step / steps, now=clock())
        claims.succeed(session, claim, [], "0" * 64, "passed", now=clock())
    return edit_id


def read(client: TestClient, edit_id: str, **headers: str) -> list[StreamMessage]:
    with client.stream("GET", f"/v1/edits/{edit_id}/stream", headers=headers) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        parser = EventStreamParser()
        return [message for line in response.iter_lines() if (message := parser.feed(line))]


def test_events_are_paged_without_gaps(client: TestClient, database: Database, clock: FakeClock) -> None:
    edit_id, after, seqs = finished(database, clock), "0", list[int]()
    while after:
        page = client.get(f"/v1/edits/{edit_id}/events", params={"after": after, "limit": 3}).json()
        seqs += [event["seq"] for event in page["data"]]
        after = page["next_cursor"]
    assert seqs == list(range(1, 9))


def test_stream_ends_with_done(client: TestClient, database: Database, clock: FakeClock) -> None:
    *events, last = read(client, finished(database, clock))
    assert [message.id for message in events] == [str(seq) for seq in range(1, 9)]
    assert [events[0].event, events[2].event, last.event] == ["status", "progress", STREAM_END]


def test_stream_continues_beyond_one_poll(client: TestClient, database: Database, clock: FakeClock) -> None:
    *events, last = read(client, finished(database, clock, steps=450))
    assert (len(events), last.event) == (453, STREAM_END)


def test_stream_resumes_after_last_event_id(client: TestClient, database: Database, clock: FakeClock) -> None:
    edit_id = finished(database, clock)
    *events, _ = read(client, edit_id, **{"Last-Event-ID": "6"})
    assert [message.id for message in events] == ["7", "8"]


def test_reconnect_after_the_end_returns_204(client: TestClient, database: Database, clock: FakeClock) -> None:
    edit_id = finished(database, clock)
    assert client.get(f"/v1/edits/{edit_id}/stream", headers={"Last-Event-ID": "8"}).status_code == 204


def test_shutdown_ends_streams(app_state: AppState, client: TestClient, clock: FakeClock) -> None:
    with app_state.database.write() as session:
        request = EditRequest(model="tiny", removals=[Removal(concept="fox")])
        edit_id = jobs.create(session, NewJob(request, "key"), now=clock()).id
    app_state.shutting_down.set()
    (event,) = read(client, edit_id)
    assert event.event == "status"
