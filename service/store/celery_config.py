"""The Celery configuration that service and worker share.

A message contains the job's id and nothing else. It may be lost or delivered twice; the claim in the database decides.
"""

from celery import Celery

from api_schemas.edits import Priority
from service.store.ids import is_quick
from service.store.settings import StoreSettings

TASK_NAME = "expunge.run_edit"
EDIT_QUEUE, PLAN_QUEUE = "edits", "plans"
BROKER_PRIORITIES: dict[Priority, int] = {"high": 0, "normal": 3, "low": 6}
"""Redis priorities as Celery uses them: 0 is delivered first."""
VISIBILITY_MARGIN_SECONDS = 900
"""Added to the hard time limit, so that the broker redelivers a message only after its job was killed."""


def queue_for(job_id: str) -> str:
    """Return the job's queue. Dry runs and previews have their own, so that they do not wait for edits."""
    return PLAN_QUEUE if is_quick(job_id) else EDIT_QUEUE


def celery_app(settings: StoreSettings) -> Celery:
    """Return a Celery application that can send messages; the worker extends its configuration."""
    app = Celery("expunge", broker=settings.broker_url, set_as_current=False)
    visibility_timeout = settings.hard_limit_seconds + VISIBILITY_MARGIN_SECONDS
    app.conf.update(
        task_default_queue=EDIT_QUEUE,
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        visibility_timeout=visibility_timeout,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        task_publish_retry_policy={"max_retries": 3, "interval_max": 1},
        broker_transport_options={
            "visibility_timeout": visibility_timeout,
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            "queue_order_strategy": "priority",
            "socket_keepalive": True,
            "socket_timeout": 30,
            "health_check_interval": 25,
        },
    )
    return app
