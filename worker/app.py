"""The Celery application of the worker: one slot, spawned, and a message is done only when its job is."""

from celery import Celery

from service.store.celery_config import celery_app
from worker.settings import WorkerSettings

SOFT_LIMIT_MARGIN_SECONDS = 60
"""Seconds between the exception that lets a job end in order, and the kill."""


def create_app(settings: WorkerSettings) -> Celery:
    """`celery_app`, with what only a worker needs."""
    app = celery_app(settings)
    app.conf.update(
        include=["worker.tasks"],
        worker_pool="prefork",
        worker_pool_start_method="spawn",  # fork and CUDA do not mix
        worker_concurrency=1,
        worker_prefetch_multiplier=1,
        worker_max_tasks_per_child=settings.jobs_per_process,
        worker_proc_alive_timeout=60.0,
        worker_soft_shutdown_timeout=2.0,  # then the job is cut off; the next attempt resumes it
        worker_cancel_long_running_tasks_on_connection_loss=False,  # fencing makes a duplicate harmless
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,  # a child's standard error is where its log goes, not what is logged
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_time_limit=settings.hard_limit_seconds,
        task_soft_time_limit=settings.hard_limit_seconds - SOFT_LIMIT_MARGIN_SECONDS,
    )
    return app
