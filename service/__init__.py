"""The HTTP service: API, dispatcher, webhooks, launcher and store.

It imports neither torch, nor `editor`, nor `worker`: Celery tasks are sent by name. `service.store` is shared with the worker.
"""
