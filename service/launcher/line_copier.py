"""Copy the output of a program into its log, each line as a JSON object."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import IO

from service.store.logs import to_json_line

PIPE_BYTES = 1 << 20
"""Capacity of the pipe where the system allows it: what a program may print between two calls without waiting."""
READ_BYTES = 1 << 16


class LineCopier:
    """Copies what a program has printed, without waiting for more."""

    def __init__(self, source: IO[bytes], target: Path, name: str) -> None:
        self._source = source
        self._target = target
        self._name = name
        self._rest = b""
        os.set_blocking(source.fileno(), False)
        _enlarge_pipe(source.fileno())

    def copy(self) -> None:
        """Copy all complete lines, and the last one once the program has ended."""
        if self._source.closed:
            return
        *lines, self._rest = (self._rest + self._read()).split(b"\n")
        if self._source.closed and self._rest:
            lines.append(self._rest)
        if lines:
            with self._target.open("a") as log:
                log.writelines(f"{to_json_line(line.decode(errors='replace'), self._name)}\n" for line in lines)

    def _read(self) -> bytes:
        """Return what the pipe contains, and close it at its end."""
        chunks = []
        while chunk := self._read_chunk():
            chunks.append(chunk)
        if chunk == b"":
            self._source.close()
        return b"".join(chunks)

    def _read_chunk(self) -> bytes | None:
        """Return the next bytes; none at the end, None if there are none yet."""
        try:
            return os.read(self._source.fileno(), READ_BYTES)
        except BlockingIOError:
            return None


def _enlarge_pipe(descriptor: int) -> None:
    with suppress(AttributeError, OSError):  # Linux only, up to a limit for each user
        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
