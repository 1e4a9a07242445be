"""python -m tests.faults.small_disk FOLDER: the store on a disk of one megabyte that fills up.

Exits with 0 if writes were rejected, no partial data was left, and the store was consistent afterwards.
"""

import io
import sys
from pathlib import Path

from service.store import fsck, jobs
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
    filler = folder / "filler"
    fill_disk(filler)
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
