"""The worker's Celery application: one spawned process, and messages are acknowledged after their job."""

import os

from celery import Celery
from celery.signals import celeryd_after_setup, setup_logging

from service.store.celery_config import celery_app
from worker.settings import WorkerSettings

SOFT_LIMIT_MARGIN_SECONDS = 60
"""Seconds between the soft time limit, which lets a job fail in order, and the hard one."""


def node_name(settings: WorkerSettings) -> str:
    """Return the name of the Celery node, which is unique among all workers of a broker. Celery replaces `%h` by the host."""
    return f"{settings.worker_name or 'worker'}-{os.getpid()}@%h"


def _keep_logging(**_: object) -> None:
    """Connected to `setup_logging`, this keeps Celery from adding handlers of its own."""


def _silence_children(**_: object) -> None:
    """Keep billiard from configuring the logging of child processes before our own code runs there."""
    os.environ.pop("_MP_FORK_LOGLEVEL_", None)


setup_logging.connect(_keep_logging)
celeryd_after_setup.connect(_silence_children)


def create_app(settings: WorkerSettings) -> Celery:
    """Return the shared Celery application with the worker's own configuration."""
    app = celery_app(settings)
    app.conf.update(
        include=["worker.tasks"],
        worker_pool="prefork",
        worker_pool_start_method="spawn",  # CUDA does not survive fork.
        worker_concurrency=1,
        worker_prefetch_multiplier=1,
        worker_max_tasks_per_child=settings.jobs_per_process,
        worker_proc_alive_timeout=60.0,
        worker_soft_shutdown_timeout=2.0,  # After that the job is interrupted, and the next attempt resumes it.
        worker_cancel_long_running_tasks_on_connection_loss=False,  # Fencing makes a duplicate harmless.
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,  # A child logs to its standard error; redirecting it into logging would loop.
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_time_limit=settings.hard_limit_seconds,
        task_soft_time_limit=settings.hard_limit_seconds - SOFT_LIMIT_MARGIN_SECONDS,
    )
    return app
