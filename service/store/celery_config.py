"""The doorbell's wiring: what service and worker must agree on to talk through the broker.

A message says `{"job_id"}` and nothing else. It may be lost or come twice; the claim in the database decides.
"""

from celery import Celery

from api_schemas.edits import Priority
from service.store.settings import StoreSettings

TASK_NAME = "expunge.run_edit"
EDIT_QUEUE, PLAN_QUEUE = "edits", "plans"
BROKER_PRIORITIES: dict[Priority, int] = {"high": 0, "normal": 3, "low": 6}
"""As Redis has them, through Celery: 0 comes first."""
VISIBILITY_MARGIN_SECONDS = 900
"""Seconds. The broker gives a message to somebody else only when its job must have been killed."""


def queue_for(job_id: str) -> str:
    """Dry runs have a queue of their own: who waits for one does not wait for edits."""
    return PLAN_QUEUE if job_id.startswith("plan_") else EDIT_QUEUE


def celery_app(settings: StoreSettings) -> Celery:
    """A Celery application that can send, and that a worker builds on."""
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
