"""The data folder: its lock, its paths and its API key."""

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
from service.store.private_files import make_private_folder, restrict_existing

MAX_SOCKET_PATH_BYTES = 100
"""The kernel allows 108 bytes on Linux and 104 on macOS."""


@dataclass(frozen=True)
class DataFolder:
    """The folder of one Expunge instance."""

    root: Path

    @property
    def api_key_file(self) -> Path:
        """The file with the admin API key, mode 0600."""
        return self.root / "api-key"

    @property
    def service_file(self) -> Path:
        """The file with the URL of the service, which exists while it runs."""
        return self.root / "service.json"

    @property
    def broker_dir(self) -> Path:
        """The folder of the broker's append-only file, and of its socket unless that path is too long."""
        return self.root / "broker"

    @property
    def log_dir(self) -> Path:
        """The folder of the logs, one file for each process."""
        return self.root / "logs"

    @property
    def signing_dir(self) -> Path:
        """The folder of the signing keys, which are made at the first start."""
        return self.root / "signing"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Create the folder, lock it, and make its files private.

        Raises:
            LaunchError: another process has locked it.
            UsageError: it cannot be created or written.
        """
        for folder in (self.root, self.broker_dir, self.log_dir):
            make_private_folder(folder)
        restrict_existing(self.root)
        with (self.root / "lock").open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise LaunchError(
                    f"Another `expunge up` is running on {self.root}.",
                    remedy="Stop it, or use another folder with --data-dir.",
                ) from error
            yield

    def ensure_api_key(self, database: Database) -> None:
        """Create the key file if there is none, and register its key."""
        if not self.api_key_file.exists():
            _write_private(self.api_key_file, api_keys.generate_api_key() + "\n")
        with database.write() as session:
            api_keys.register(session, self.api_key_file.read_text().strip(), now=utc_now())

    @contextmanager
    def socket_path(self) -> Iterator[Path]:
        """Yield the path of the broker's socket: in a temporary folder if the path in this one would be too long."""
        path = self.broker_dir / "broker.sock"
        if len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES:
            path.unlink(missing_ok=True)
            yield path
            return
        with tempfile.TemporaryDirectory(prefix="expunge-", dir="/tmp") as short:
            yield Path(short) / "broker.sock"

    @contextmanager
    def announce(self, url: str) -> Iterator[dict[str, str | int]]:
        """Write `service_file` for clients on this machine, and remove it when the service stops."""
        announcement: dict[str, str | int] = {
            "url": url,
            "api_key_file": str(self.api_key_file),
            "data_dir": str(self.root),
            "pid": os.getpid(),
        }
        _write_private(self.service_file, json.dumps(announcement))
        try:
            yield announcement
        finally:
            self.service_file.unlink(missing_ok=True)


def _write_private(path: Path, text: str) -> None:
    """Write a file atomically, readable by its owner only from the start."""
    partial = path.with_name(f".{path.name}.part")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    partial.replace(path)
