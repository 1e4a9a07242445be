"""The Celery task. Importing this module must be fast: Celery expects a spawned process to report within seconds."""

import threading
from functools import lru_cache

from celery import shared_task
from celery.signals import worker_process_init

from service.store import logs
from service.store.celery_config import PLAN_QUEUE, TASK_NAME
from worker import job_protocol
from worker.runner import Runner
from worker.settings import WorkerSettings


def _run_edit(job_id: str) -> None:
    """Handle the message of a job."""
    _runner().run(job_id)


run_edit = shared_task(name=TASK_NAME)(_run_edit)


def _preload_planner(**_: object) -> None:
    """Import the planner, and with it torch, before the first dry run, if the process does nothing else."""
    settings = WorkerSettings()
    if settings.queues == PLAN_QUEUE:
        threading.Thread(target=job_protocol.load, args=[settings.planner], daemon=True).start()


worker_process_init.connect(_preload_planner)


@lru_cache(maxsize=1)
def _runner() -> Runner:
    """Create the runner in the child process at its first job, so that nothing open is inherited."""
    settings = WorkerSettings()
    logs.configure_process(settings)
    return Runner.from_settings(settings)
