"""An S3 in this process: moto, reached over HTTP like a real one."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from moto.server import ThreadedMotoServer

ACCOUNT = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}


@contextmanager
def serving() -> Iterator[dict[str, str]]:
    """The variables that lead to it."""
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    try:
        yield ACCOUNT | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ALLOW_HTTP": "true"}
    finally:
        server.stop()


def make_bucket(variables: dict[str, str], name: str) -> str:
    """An empty bucket. Returns its URL."""
    httpx.put(f"{variables['AWS_ENDPOINT_URL']}/{name}", trust_env=False).raise_for_status()
    return f"s3://{name}"
