"""A whole service to strike at, with somebody who keeps it busy."""

import json
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import uuid4

import httpx
import psutil
from sqlalchemy import func, select

from api_schemas.jobs import TERMINAL_STATUSES
from service.store.database import Database, sqlite_url
from service.store.errors import StoreUnavailable
from service.store.orm import Job, WebhookDelivery
from tests.fakes import postgres, s3
from tests.fakes.postgres import Postgres
from tests.fakes.s3 import S3
from tests.fakes.stack import Stack, eventually, running
from tests.kill.faults import Fault, Striker, striking
from tests.kill.invariants import ends, violations

LEASE_SECONDS = 2.0
WIDTH = 3
"""Jobs under way at any time."""
REACH_SECONDS = 120.0
DRAIN_SECONDS = 180.0


@dataclass
class Cluster:
    """A stack, its database, and what the outside world knows of it.

    Args:
        stop_seconds: how long a stopped process stands still; longer than a lease.
    """

    stack: Stack
    database: Database
    server: Postgres | None
    stop_seconds: float
    s3: S3 | None = None
    bucket: str = ""
    accepted: dict[str, str] = field(default_factory=dict)
    seen: dict[str, tuple[object, ...]] = field(default_factory=dict)
    closing: threading.Event = field(default_factory=threading.Event)
    fed: threading.Event = field(default_factory=threading.Event)
    """Nobody posts any more: a request that is under way may be accepted after everything else is over."""
    striker: Striker | None = None
    struck: list[psutil.Process] = field(default_factory=list)
    """The last fault's victims."""
    received: Counter[str] = field(default_factory=Counter)
    """Webhook messages: id -> how often it came."""
    stuck: list[str] = field(default_factory=list)
    """Places that nobody came to although jobs are waiting: nothing moves any more."""

    def inject(self, fault: Fault) -> None:
        """Have the fault happen, and wait until everybody is back."""
        assert self.striker
        if not self.striker.strike(fault, REACH_SECONDS):
            self.stuck.append(f"nobody came to {fault.point} in {REACH_SECONDS:g} s; processes: {self.states()}")
        elif fault.how == "stop":
            time.sleep(self.stop_seconds)
            for process in self.struck:
                with suppress(psutil.NoSuchProcess):
                    process.resume()
        elif fault.victim == "database" and self.server:
            psutil.wait_procs(self.struck, timeout=10)
            self.server.start()
        else:
            eventually(lambda: self.stack.replaced(fault.victim, self.struck[0]), REACH_SECONDS)

    def strike(self, fault: Fault) -> None:
        """At this very moment, and at who is the victim now: a worker's child is replaced every few jobs."""
        self.struck = self.find(fault.victim)
        for process in self.struck:
            with suppress(psutil.NoSuchProcess):
                process.kill() if fault.how == "kill" else process.suspend()

    def find(self, victim: str) -> list[psutil.Process]:
        """The victim's processes, once it has some."""
        if victim == "database":
            assert self.server
            assert self.server.process
            first = psutil.Process(self.server.process.pid)
            return [first, *first.children(recursive=True)]
        if victim == "bucket":
            assert self.s3
            return [psutil.Process(self.s3.process.pid)]
        found: list[psutil.Process] = []

        def look() -> bool:
            with suppress(LookupError):
                found.append(self.stack.find(victim))
            return bool(found)

        eventually(look, REACH_SECONDS)
        return found

    def states(self) -> dict[str, str]:
        """How each process is, as the kernel says: for whoever wonders why nothing moves."""
        parts = psutil.Process(self.stack.process.pid).children(recursive=True)
        return {f"{part.pid} {part.name()}": str(part.status()) for part in parts}

    def feed(self) -> None:
        """Submit a job whenever too few are under way, and look at those that are over, until `closing`."""
        while not self.closing.is_set():
            with suppress(StoreUnavailable):
                if self.look() < WIDTH:
                    self._submit()
                    continue
            time.sleep(0.1)
        self.fed.set()

    def look(self) -> int:
        """Note which jobs are over, as they are first seen. Returns how many are not."""
        with self.database.read() as session:
            for job_id, end in ends(session).items():
                self.seen.setdefault(job_id, end)
            return (
                session.scalar(select(func.count()).select_from(Job).where(Job.status.not_in(TERMINAL_STATUSES))) or 0
            )

    def unsent(self) -> int:
        """Webhook messages that are still to be delivered."""
        with self.database.read() as session:
            pending = select(func.count()).select_from(WebhookDelivery).where(WebhookDelivery.status == "pending")
            return session.scalar(pending) or 0

    def subscribe(self, url: str) -> None:
        """Have the end of each job told there."""
        reply = httpx.post(
            f"{self.stack.url}/v1/webhook_endpoints", json={"url": url}, headers=self.stack.authorization
        )
        reply.raise_for_status()

    def drain(self) -> list[str]:
        """Let all jobs come to their end. Returns what is wrong then."""
        self.closing.set()
        self.fed.wait(DRAIN_SECONDS)

        def over() -> bool:
            with suppress(StoreUnavailable):
                return self.look() + self.unsent() == 0
            return False

        with suppress(AssertionError):  # a job that does not end is told among the violations
            eventually(over, DRAIN_SECONDS)
        return self.stuck + violations(self.database, self.stored(), self.accepted, self.seen, self.received)

    def stored(self) -> dict[str, bytes]:
        """Every blob, by its name."""
        if self.s3:
            return self.s3.contents(f"{self.bucket}/sha256")
        return {path.name: path.read_bytes() for path in (self.stack.data_dir / "blobs" / "sha256").glob("*/*")}

    def _submit(self) -> None:
        """One job, however often it has to be said: the key makes it one."""
        key = uuid4().hex
        headers = self.stack.authorization | {"Idempotency-Key": key}
        body = {"model": "tiny", "removals": [{"concept": "fox"}]}
        while True:
            with suppress(httpx.TransportError):
                reply = httpx.post(
                    f"{self.stack.url}/v1/edits", json=body, headers=headers, timeout=5.0, trust_env=False
                )
                if reply.status_code == 202:
                    self.accepted[key] = reply.json()["id"]
                    return
                assert reply.status_code in (409, 429, 500, 502, 503), reply.text
            time.sleep(0.2)


@contextmanager
def receiving(received: Counter[str]) -> Iterator[str]:
    """A receiver of webhooks, that counts. Gives its `host:port`."""

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            received[self.headers["webhook-id"]] += 1
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


@contextmanager
def cluster(folder: Path, store: str, stop_seconds: float = 2 * LEASE_SECONDS) -> Iterator[Cluster]:
    """A service on `store`, one of `tests.kill.faults.ABSENT`, busy for as long as the block lasts."""
    with ExitStack() as stack:
        short = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="expunge-kill-", dir="/tmp")))
        server = stack.enter_context(postgres.serving()) if store != "sqlite" else None
        buckets = stack.enter_context(s3.serving()) if store == "s3" else None
        bucket = buckets.create("published") if buckets else ""
        received: Counter[str] = Counter()
        receiver = stack.enter_context(receiving(received))
        url = server.create() if server else sqlite_url(folder / "data" / "expunge.db")
        settings = {
            "EXPUNGE_DATABASE_URL": url if server else "",
            "EXPUNGE_BLOBS_URL": bucket,
            "EXPUNGE_FAULTS": str(short / "faults"),
            "EXPUNGE_LEASE_SECONDS": str(LEASE_SECONDS),
            "EXPUNGE_HEARTBEAT_SECONDS": "0.4",
            "EXPUNGE_RETRY_SECONDS": "0.2",
            "EXPUNGE_HEALTHY_SECONDS": "0",
            "EXPUNGE_RATE_LIMIT": "",
            "EXPUNGE_WEBHOOK_ALLOWED_HOSTS": json.dumps([receiver]),
            **(buckets.variables if buckets else {}),
        }
        made: list[Cluster] = []
        striker = stack.enter_context(striking(short / "faults", lambda fault: made[0].strike(fault)))
        up = stack.enter_context(running(folder / "data", **settings))
        made.append(
            Cluster(up, Database(url), server, stop_seconds, buckets, bucket, striker=striker, received=received)
        )
        made[0].subscribe(f"http://{receiver}/hook")
        feeder = threading.Thread(target=made[0].feed, daemon=True)
        feeder.start()
        try:
            yield made[0]
        finally:
            made[0].closing.set()
            feeder.join(30)
