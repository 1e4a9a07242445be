"""What a worker process does before its first job."""

import pytest
from celery.signals import worker_process_init

from service.store.celery_config import PLAN_QUEUE
from tests.fakes.stack import wait_until
from worker import tasks

PLANNER = "tests.fakes.planner"


@pytest.mark.parametrize("queues", [PLAN_QUEUE, f"{PLAN_QUEUE},edits"])
def test_only_workers_of_the_plan_queue_preload_the_planner(monkeypatch: pytest.MonkeyPatch, queues: str) -> None:
    loaded: list[str] = []
    monkeypatch.setattr(tasks.job_protocol, "load", loaded.append)
    monkeypatch.setenv("EXPUNGE_QUEUES", queues)
    monkeypatch.setenv("EXPUNGE_PLANNER", PLANNER)
    worker_process_init.send(None)
    if queues == PLAN_QUEUE:
        wait_until(lambda: loaded == [PLANNER], 5)
    assert len(loaded) == (queues == PLAN_QUEUE)
