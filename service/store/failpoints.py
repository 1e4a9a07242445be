"""Failpoints: named places at which tests inject faults.

`failpoint` reports its name over a Unix socket and waits for the reply; in between, the listener may kill or stop any
process. Without a listener, which is everywhere but in `tests/kill`, it costs one comparison.
"""

import os
import socket
from contextlib import suppress

SOCKET_PATH = os.environ.get("EXPUNGE_FAULTS", "")
"""Path of the listener's socket. Read once, so no request can set it."""

FAILPOINTS = (
    "accept.begun",
    "accept.written",
    "accept.committed",
    "enqueue.due",
    "enqueue.sent",
    "enqueue.noted",
    "claim.received",
    "claim.written",
    "claim.committed",
    "phase.entered",
    "samples.written",
    "phase.done",
    "blob.written",
    "blob.synced",
    "blob.renamed",
    "manifest.begun",
    "manifest.stored",
    "publish.written",
    "publish.committed",
    "webhook.taken",
    "webhook.sent",
    "webhook.noted",
)
"""All failpoints, in the order in which a job passes them.

Phase failpoints are followed by the phase, as `phase.done.trace`.
"""

CASE_FAILPOINTS = ("case.written", "case.committed", "sweep.written", "sweep.committed")
"""Failpoints of the transactions that change a case: on request, and by the sweep of the dispatcher."""

FLEET_FAILPOINTS = (
    "fleet.created",
    "fleet.accepted",
    "fleet.queued",
    "fleet.written",
    "fleet.committed",
    "fleet.carried",
    "delta.carried",
    "fleet.stated",
    "statement.written",
    "fleet.ended",
)
"""Failpoints of a fleet, in order: its creation, the steps of the dispatcher, a carried delta, and the statement."""

RETRY_FAILPOINTS = ("retry.written",)
"""Failpoints of the transaction that puts a new job in the place of a failed one."""

MODEL_FAILPOINTS = ("model.registered", "model.written", "model.quarantined", "model.admitted", "calibration.written")
"""Failpoints of the transactions that register, read, admit and calibrate a model."""


def failpoint(name: str) -> None:
    """Report the failpoint to the listener, if there is one, and wait for its reply."""
    if SOCKET_PATH:
        with suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.connect(SOCKET_PATH)
            connection.sendall(f"{name}\n".encode())
            connection.recv(1)
