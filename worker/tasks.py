"""The one task. Importing this module must stay quick: a spawned child has to report within seconds."""

from functools import lru_cache

from celery import shared_task

from service.store import logs
from service.store.queue import TASK
from worker.run import Runner
from worker.settings import WorkerSettings


def _run_edit(job_id: str) -> None:
    """Answer the doorbell."""
    with logs.bound_contextvars(job_id=job_id):
        _runner().run(job_id)


run_edit = shared_task(name=TASK)(_run_edit)


@lru_cache(maxsize=1)
def _runner() -> Runner:
    """Built in the child, at its first job: nothing that is open crosses the spawn."""
    settings = WorkerSettings()
    logs.configure(settings)
    return Runner.from_settings(settings)
