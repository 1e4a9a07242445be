"""python -m tests.faults.small_disk FOLDER: the store on a disk of one megabyte that fills up.

Exits with 0 if writes were rejected, no partial data was left, and the store was consistent afterwards.
"""

import io
import sys
import time
from pathlib import Path

from fastapi.testclient import TestClient

from service.api.app import create_app
from service.api.readiness import DISK_FULL
from service.core.app_state import AppState
from service.settings import ServiceSettings
from service.store import api_keys, fsck, jobs
from service.store.blobs import LocalBlobs
from service.store.clock import utc_now
from service.store.database import Database, sqlite_url
from service.store.errors import StoreUnavailable
from service.store.jobs import NewJob
from tests.faults.conftest import REQUEST


def main() -> None:
    folder = Path(sys.argv[1])
    database, blobs = Database(sqlite_url(folder / "expunge.db")), LocalBlobs(folder / "blobs")
    database.prepare()
    submit(database)
    key = api_keys.generate_api_key()
    with database.write() as session:
        api_keys.register(session, key, now=utc_now())
    filler = folder / "filler"
    settings = ServiceSettings(data_dir=folder, broker_url="memory://")
    settings.secret_box()  # creates the key file while there is space
    app = create_app(AppState.from_settings(settings))
    client = TestClient(app, headers={"Authorization": f"Bearer {key}"}, raise_server_exceptions=False)
    assert client.get("/readyz").status_code == 200
    fill_disk(filler)
    check_api_on_full_disk(client)
    for refused in (lambda: blobs.put(io.BytesIO(bytes(100_000))), lambda: submit(database)):
        try:
            while True:
                refused()
        except (OSError, StoreUnavailable):
            pass
    assert list(blobs.each()) == []
    filler.unlink()
    submit(database)
    blobs.put(io.BytesIO(bytes(100_000)))
    assert fsck.inspect(database, blobs).findings == []


def check_api_on_full_disk(client: TestClient) -> None:
    """The first use of the key is noted in the database, which fails. Reads must not fail with it."""
    for _ in range(3):
        response = client.get("/v1/edits")
        assert response.status_code == 200, response.text
    written = client.post("/v1/webhook_endpoints", json={"url": "https://example.org/"})
    assert written.status_code == 503, written.text
    assert "disk" in written.json()["detail"], written.text
    time.sleep(1.1)
    ready = client.get("/readyz")
    assert ready.status_code == 503, ready.text
    checks = ready.json()["checks"]
    assert (checks["database"], checks["blobs"]) == (DISK_FULL, DISK_FULL), checks


def submit(database: Database) -> None:
    with database.write() as session:
        jobs.create(session, NewJob(REQUEST, "key"), now=utc_now())


def fill_disk(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return


if __name__ == "__main__":
    main()
