"""The HTTP side: routes, auth, idempotency, streams, downloads, and the one-command launcher.

Imports neither torch, nor editor, nor worker: it sends a task by name. `service.store` is shared with
the worker.
"""
