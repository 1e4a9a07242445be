"""The data folder: who may use it, where things lie in it, and the key that opens its service."""

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from service.launcher.errors import LaunchError
from service.store import api_keys
from service.store.clock import utc_now
from service.store.database import Database

LONGEST_SOCKET_PATH = 100
"""Bytes; the kernel allows 108 on Linux, 104 on macOS."""


@dataclass(frozen=True)
class DataFolder:
    """One Expunge instance's folder."""

    root: Path

    @property
    def key_file(self) -> Path:
        """The API key of whoever may read the folder: mode 0600."""
        return self.root / "api-key"

    @property
    def service_file(self) -> Path:
        """What a client needs to find the running service. There while it runs."""
        return self.root / "service.json"

    @property
    def broker_dir(self) -> Path:
        """The broker's append-only file, and its socket unless that path is too long."""
        return self.root / "broker"

    @property
    def log_dir(self) -> Path:
        """One file for each process."""
        return self.root / "logs"

    @property
    def signing_dir(self) -> Path:
        """The keys that sign what is published, made at the first start."""
        return self.root / "signing"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Create the folder and keep everybody else out. Raises `LaunchError` when somebody is in."""
        for folder in (self.root, self.broker_dir, self.log_dir):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.root / "lock").open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise LaunchError(
                    f"another expunge up runs on {self.root}.",
                    remedy="Stop it, or choose another folder with --data-dir.",
                ) from error
            yield

    def key(self, database: Database) -> None:
        """Have a key file, and let its key in."""
        if not self.key_file.exists():
            _write_private(self.key_file, api_keys.new_key() + "\n")
        with database.write() as session:
            api_keys.register(session, self.key_file.read_text().strip(), now=utc_now())

    @contextmanager
    def socket_path(self) -> Iterator[Path]:
        """Where the broker's socket goes: into a short temporary folder when this one's path is long."""
        path = self.broker_dir / "broker.sock"
        if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
            path.unlink(missing_ok=True)
            yield path
            return
        with tempfile.TemporaryDirectory(prefix="expunge-", dir="/tmp") as short:
            yield Path(short) / "broker.sock"

    @contextmanager
    def announced(self, url: str) -> Iterator[dict[str, str | int]]:
        """Tell clients on this machine where the service is, for as long as it runs."""
        found: dict[str, str | int] = {
            "url": url,
            "api_key_file": str(self.key_file),
            "data_dir": str(self.root),
            "pid": os.getpid(),
        }
        _write_private(self.service_file, json.dumps(found))
        try:
            yield found
        finally:
            self.service_file.unlink(missing_ok=True)


def _write_private(path: Path, text: str) -> None:
    """Whole or not at all, and never readable by others, not for a moment."""
    partial = path.with_name(f".{path.name}.part")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    partial.replace(path)
