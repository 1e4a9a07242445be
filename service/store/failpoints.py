"""Named places where a fault may strike, so that a test can hold the world still at each of them.

`reach` says over a unix socket that its process has come to a place, and waits for the answer; whoever listens may kill
or stop any process meanwhile, this one too. Where nobody listens, and that is everywhere but in the tests of
`tests/kill`, it costs one comparison.
"""

import os
import socket
from contextlib import suppress

SOCKET_PATH = os.environ.get("EXPUNGE_FAULTS", "")
"""Path of the socket. Read once: no request can set it."""

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
"""In the order in which a job passes them. Those of phases are followed by the phase's name: `phase.done.trace`."""


def failpoint(point: str) -> None:
    """This process has come to `point`. Returns when nothing, or something else, has happened."""
    if SOCKET_PATH:
        with suppress(OSError), socket.socket(socket.AF_UNIX) as wire:
            wire.connect(SOCKET_PATH)
            wire.sendall(f"{point}\n".encode())
            wire.recv(1)
