"""A running service under load, into which faults are injected."""

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
from tests.fakes.stack import Stack, running_stack, wait_until
from tests.kill.faults import Fault, FaultInjector, fault_injector
from tests.kill.invariants import ended_jobs, violations

LEASE_SECONDS = 2.0
CONCURRENT_JOBS = 3
"""Number of unfinished jobs to keep."""
FAILPOINT_TIMEOUT_SECONDS = 120.0
DRAIN_TIMEOUT_SECONDS = 180.0


@dataclass
class Cluster:
    """A stack, its database, and what its clients observed.

    Args:
        stop_seconds: how long a stopped process stays stopped; longer than a lease.
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
    feeder_done: threading.Event = field(default_factory=threading.Event)
    """Set when no more requests are sent: one that is still running may be accepted after everything else has ended."""
    injector: FaultInjector | None = None
    victims: list[psutil.Process] = field(default_factory=list)
    """Processes that the last fault hit."""
    received: Counter[str] = field(default_factory=Counter)
    """Number of deliveries of each webhook message, by id."""
    unreached: list[str] = field(default_factory=list)
    """Failpoints that were not reached although jobs were waiting."""

    def inject(self, fault: Fault) -> None:
        """Inject the fault and wait until every process is back."""
        assert self.injector
        if not self.injector.inject(fault, FAILPOINT_TIMEOUT_SECONDS):
            self.unreached.append(
                f"{fault.point} was not reached within {FAILPOINT_TIMEOUT_SECONDS:g} s; processes: {self.process_states()}"
            )
        elif fault.how == "stop":
            time.sleep(self.stop_seconds)
            for process in self.victims:
                with suppress(psutil.NoSuchProcess):
                    process.resume()
        elif fault.victim == "database" and self.server:
            psutil.wait_procs(self.victims, timeout=10)
            self.server.start()
        else:
            wait_until(lambda: self.stack.was_replaced(fault.victim, self.victims[0]), FAILPOINT_TIMEOUT_SECONDS)

    def apply_fault(self, fault: Fault) -> None:
        """Kill or stop the victim. It is looked up now, because a worker's child is replaced every few jobs."""
        self.victims = self.find(fault.victim)
        for process in self.victims:
            with suppress(psutil.NoSuchProcess):
                process.kill() if fault.how == "kill" else process.suspend()

    def find(self, victim: str) -> list[psutil.Process]:
        """Wait for the victim's processes and return them."""
        if victim == "database":
            assert self.server
            assert self.server.process
            first = psutil.Process(self.server.process.pid)
            return [first, *first.children(recursive=True)]
        if victim == "bucket":
            assert self.s3
            return [psutil.Process(self.s3.process.pid)]
        found: list[psutil.Process] = []

        def find_victim() -> bool:
            with suppress(LookupError):
                found.append(self.stack.find_process(victim))
            return bool(found)

        wait_until(find_victim, FAILPOINT_TIMEOUT_SECONDS)
        return found

    def process_states(self) -> dict[str, str]:
        """Return the kernel's state of each process, for error messages."""
        parts = psutil.Process(self.stack.process.pid).children(recursive=True)
        return {f"{part.pid} {part.name()}": str(part.status()) for part in parts}

    def submit_jobs(self) -> None:
        """Submit jobs whenever too few are unfinished, and record ended ones, until `closing` is set."""
        while not self.closing.is_set():
            with suppress(StoreUnavailable):
                if self.record_ended_jobs() < CONCURRENT_JOBS:
                    self._submit()
                    continue
            time.sleep(0.1)
        self.feeder_done.set()

    def record_ended_jobs(self) -> int:
        """Record jobs that have ended, as they were first seen. Returns the number of unfinished jobs."""
        with self.database.read() as session:
            for job_id, end in ended_jobs(session).items():
                self.seen.setdefault(job_id, end)
            return (
                session.scalar(select(func.count()).select_from(Job).where(Job.status.not_in(TERMINAL_STATUSES))) or 0
            )

    def pending_deliveries(self) -> int:
        """Return the number of webhook messages that are not delivered yet."""
        with self.database.read() as session:
            pending = select(func.count()).select_from(WebhookDelivery).where(WebhookDelivery.status == "pending")
            return session.scalar(pending) or 0

    def subscribe(self, url: str) -> None:
        """Subscribe a webhook receiver to the end of each job."""
        reply = httpx.post(
            f"{self.stack.url}/v1/webhook_endpoints", json={"url": url}, headers=self.stack.authorization
        )
        reply.raise_for_status()

    def drain(self) -> list[str]:
        """Wait for all jobs to end and return the violations."""
        self.closing.set()
        self.feeder_done.wait(DRAIN_TIMEOUT_SECONDS)

        def over() -> bool:
            with suppress(StoreUnavailable):
                return self.record_ended_jobs() + self.pending_deliveries() == 0
            return False

        with suppress(AssertionError):  # A job that does not end is one of the violations.
            wait_until(over, DRAIN_TIMEOUT_SECONDS)
        return self.unreached + violations(self.database, self.blob_contents(), self.accepted, self.seen, self.received)

    def blob_contents(self) -> dict[str, bytes]:
        """Return every blob by name."""
        if self.s3:
            return self.s3.contents(f"{self.bucket}/sha256")
        return {path.name: path.read_bytes() for path in (self.stack.data_dir / "blobs" / "sha256").glob("*/*")}

    def _submit(self) -> None:
        """Submit a job, with retries under one idempotency key."""
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
def webhook_receiver(received: Counter[str]) -> Iterator[str]:
    """Run a webhook receiver that counts messages. Yields its `host:port`."""

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
    """Run a service on `store`, one of `tests.kill.faults.UNSUPPORTED`, under load."""
    with ExitStack() as stack:
        short = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="expunge-kill-", dir="/tmp")))
        server = stack.enter_context(postgres.running_server()) if store != "sqlite" else None
        buckets = stack.enter_context(s3.running_server()) if store == "s3" else None
        bucket = buckets.create("published") if buckets else ""
        received: Counter[str] = Counter()
        receiver = stack.enter_context(webhook_receiver(received))
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
        clusters: list[Cluster] = []
        injector = stack.enter_context(fault_injector(short / "faults", lambda fault: clusters[0].apply_fault(fault)))
        running = stack.enter_context(running_stack(folder / "data", **settings))
        clusters.append(
            Cluster(running, Database(url), server, stop_seconds, buckets, bucket, injector=injector, received=received)
        )
        clusters[0].subscribe(f"http://{receiver}/hook")
        feeder = threading.Thread(target=clusters[0].submit_jobs, daemon=True)
        feeder.start()
        try:
            yield clusters[0]
        finally:
            clusters[0].closing.set()
            feeder.join(30)
