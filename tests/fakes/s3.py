"""An S3 server in a process of its own: moto over HTTP, in memory.

    python -m tests.fakes.s3

prints the environment variables of its clients and serves until its standard input ends.
"""

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import obstore
from obstore.store import from_url

ROOT = Path(__file__).parents[2]
ACCOUNT = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}


@dataclass(frozen=True)
class S3:
    """A running server, with the environment variables of its clients."""

    variables: dict[str, str]
    process: "subprocess.Popen[str]"

    def create(self, name: str) -> str:
        """Create an empty bucket and return its URL."""
        httpx.put(f"{self.variables['AWS_ENDPOINT_URL']}/{name}", trust_env=False).raise_for_status()
        return f"s3://{name}"

    def contents(self, url: str) -> dict[str, bytes]:
        """Return all objects of a bucket or prefix, by the last part of their names."""
        config = {name: value for name, value in self.variables.items() if name != "AWS_ALLOW_HTTP"}
        store = from_url(url, config=config, client_options={"allow_http": True})
        found = [item["path"] for batch in obstore.list(store) for item in batch]
        return {path.rpartition("/")[2]: bytes(obstore.get(store, path).bytes()) for path in found}


@contextmanager
def running_server() -> Iterator[S3]:
    """Run a server."""
    command = [sys.executable, "-m", "tests.fakes.s3"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout
        yield S3(json.loads(process.stdout.readline()), process)


def main() -> None:
    from moto.server import ThreadedMotoServer

    logging.disable(logging.INFO)
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    endpoint = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ALLOW_HTTP": "true"}
    sys.stdout.write(json.dumps(ACCOUNT | endpoint) + "\n")
    sys.stdout.flush()
    sys.stdin.read()
    server.stop()


if __name__ == "__main__":
    main()
