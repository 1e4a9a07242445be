"""Concurrent requests share transactions but do not affect each other."""

import asyncio
import json
import threading
from collections.abc import Sequence

from sqlalchemy import event, text
from sqlalchemy.exc import IntegrityError

from api_schemas.edits import EditRequest, Removal
from service.api.auth import Authenticator
from service.api.event_stream import EventBatch, StreamCursor, poll_events
from service.api.request_batching import BatchedCalls, EditKey
from service.core.app_state import AppState
from service.core.batcher import Batcher
from service.core.caller import Caller
from service.core.edits import PendingEdit, Submission
from service.errors import IdempotencyKeyReused, InvalidRequest, NotFound, TooManyJobs
from service.store import api_keys, audit, jobs
from service.store.database import Database
from service.store.errors import StoreUnavailable, UnknownModel
from service.store.idempotency import Scope
from tests.fakes.clock import FakeClock

DESK = Caller("key", "default", frozenset())


def pending_edit(concept: str = "fox", key: str | None = None, model: str = "tiny") -> PendingEdit:
    request = EditRequest(model=model, removals=[Removal(concept=concept)])
    return PendingEdit(DESK, Scope(DESK.key_id, "POST /v1/edits", key) if key else None, request)


def submit_concurrently(app_state: AppState, *pending: PendingEdit) -> list[Submission | BaseException]:
    async def post() -> list[Submission | BaseException]:
        batched_calls = BatchedCalls.from_app_state(app_state)
        return await asyncio.gather(*map(batched_calls.submit_edit, pending), return_exceptions=True)

    return asyncio.run(post())


def test_calls_during_a_batch_form_the_next_batch() -> None:
    first, resume, calls = threading.Event(), threading.Event(), list[list[int]]()

    def double(items: Sequence[int]) -> list[int | Exception]:
        calls.append(list(items))
        first.set()
        assert resume.wait(5)
        return [ValueError("13") if item == 13 else 2 * item for item in items]

    async def call_batcher() -> list[int | BaseException]:
        batcher = Batcher(double)
        alone = asyncio.create_task(batcher(1))
        await asyncio.to_thread(first.wait, 5)
        others = [asyncio.create_task(batcher(number)) for number in (2, 13, 4)]
        await asyncio.sleep(0)
        others[0].cancel()  # a client that disconnects does not affect the others
        resume.set()
        return await asyncio.gather(alone, *others, return_exceptions=True)

    one, canceled_call, failed_call, four = asyncio.run(call_batcher())
    assert calls == [[1], [2, 13, 4]]
    assert (one, four) == (2, 8)
    assert isinstance(canceled_call, asyncio.CancelledError)
    assert isinstance(failed_call, ValueError)


def test_error_of_a_batch_is_raised_to_all_callers() -> None:
    def work(items: Sequence[int]) -> list[int | Exception]:
        raise StoreUnavailable("away.")

    async def call_batcher() -> list[int | BaseException]:
        batcher = Batcher(work)
        return await asyncio.gather(batcher(1), batcher(2), return_exceptions=True)

    assert all(isinstance(outcome, StoreUnavailable) for outcome in asyncio.run(call_batcher()))


def test_rejected_edit_does_not_affect_others(app_state: AppState, database: Database) -> None:
    results = submit_concurrently(
        app_state,
        pending_edit(key="a"),
        pending_edit("pizza", key="a"),
        pending_edit(model="nobody"),
        pending_edit(key="a"),
        pending_edit("very " * 40),
        pending_edit("rocket"),
    )
    first, reused, unknown, again, long, last = results
    assert isinstance(first, Submission)
    assert isinstance(reused, IdempotencyKeyReused)
    assert isinstance(unknown, UnknownModel)
    assert isinstance(again, Submission)
    assert isinstance(long, InvalidRequest)
    assert isinstance(last, Submission)
    assert again.replayed
    assert again.reply == first.reply
    with database.read() as session:
        assert len(jobs.list_edits(session, "default", {}, limit=9)) == 2
        assert audit.verify(session).fault is None


def test_concurrent_edits_share_transactions(app_state: AppState) -> None:
    sent: list[str] = []
    event.listen(app_state.database.engine, "before_cursor_execute", lambda *args: sent.append(args[2]))
    results = submit_concurrently(app_state, *(pending_edit(key=str(number)) for number in range(50)))
    assert len({one.reply.body for one in results if isinstance(one, Submission)}) == 50
    assert sent.count("BEGIN IMMEDIATE") <= 3
    assert len(sent) < 50


def test_edit_that_the_database_rejects_does_not_affect_others(app_state: AppState, database: Database) -> None:
    with database.write() as session:
        session.execute(
            text(
                "CREATE TRIGGER no_bats BEFORE INSERT ON jobs WHEN NEW.request LIKE '%bat%' "
                "BEGIN SELECT RAISE(ABORT, 'no'); END"
            )
        )
    before, bat, after = submit_concurrently(
        app_state, pending_edit("fox", key="a"), pending_edit("bat", key="b"), pending_edit("pizza", key="c")
    )
    assert isinstance(before, Submission)
    assert isinstance(after, Submission)
    assert isinstance(bat, IntegrityError)
    with database.read() as session:
        assert {job.request["removals"][0]["concept"] for job in jobs.list_edits(session, "default", {}, limit=9)} == {
            "fox",
            "pizza",
        }
        assert audit.verify(session) == audit.ChainCheck(2, audit.verify(session).head)


def test_job_quota_holds_under_concurrency(app_state: AppState) -> None:
    object.__setattr__(app_state, "settings", app_state.settings.model_copy(update={"max_unfinished_jobs": 5}))
    results = submit_concurrently(app_state, *(pending_edit() for _ in range(20)))
    assert sum(isinstance(one, Submission) for one in results) == 5
    assert sum(isinstance(one, TooManyJobs) for one in results) == 15


def test_batched_reads_are_separated_by_tenant(app_state: AppState) -> None:
    (created,) = submit_concurrently(app_state, pending_edit())
    assert isinstance(created, Submission)
    edit_id = str(json.loads(created.reply.body)["id"])

    async def read_all() -> list[object]:
        batched_calls = BatchedCalls.from_app_state(app_state)
        keys = [EditKey("default", edit_id), EditKey("other", edit_id), EditKey("default", "edit_none")]
        return await asyncio.gather(*map(batched_calls.get_job, keys), return_exceptions=True)

    own, others, none = asyncio.run(read_all())
    assert getattr(own, "id", None) == edit_id
    assert isinstance(others, NotFound)
    assert isinstance(none, NotFound)


def test_batched_streams_get_only_their_own_new_events(app_state: AppState) -> None:
    results = submit_concurrently(app_state, *(pending_edit() for _ in range(50)))
    ids = [str(json.loads(one.reply.body)["id"]) for one in results if isinstance(one, Submission)]
    sent: list[str] = []
    event.listen(app_state.database.engine, "before_cursor_execute", lambda *args: sent.append(args[2]))
    nothing = poll_events(app_state, [StreamCursor("default", edit_id, after=1) for edit_id in ids])
    assert nothing == [EventBatch([], complete=False)] * 50
    assert len(sent) <= 2
    with app_state.database.write() as session:
        jobs.cancel(session, ids[0], now=app_state.clock())
    canceled, waiting, others = poll_events(
        app_state,
        [StreamCursor("default", ids[0], 1), StreamCursor("default", ids[1], 0), StreamCursor("other", ids[1], 0)],
    )
    assert isinstance(canceled, EventBatch)
    assert ([one.seq for one in canceled.events], canceled.complete) == ([2], True)
    assert isinstance(waiting, EventBatch)
    assert ([one.seq for one in waiting.events], waiting.complete) == ([1], False)
    assert isinstance(others, NotFound)


def test_revoked_key_is_rejected_after_a_second(database: Database, api_key: str, clock: FakeClock) -> None:
    ring = Authenticator(database, clock)
    assert asyncio.run(ring.authenticate(api_key))
    assert api_key not in repr(vars(ring))
    with database.write() as session:
        api_keys.revoke(session, api_key.split("_")[1], now=clock())
    clock.advance(1.1)
    assert asyncio.run(ring.authenticate(api_key)) is None
    assert asyncio.run(ring.authenticate(api_key)) is None
