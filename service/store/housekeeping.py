"""What the dispatcher does once an hour, and `expunge gc` when asked."""

from datetime import datetime, timedelta

from service.store import gc, retention
from service.store.gc import Rubbish
from service.store.settings import StoreSettings

INTERVAL = timedelta(hours=1)


def tidy(settings: StoreSettings, now: datetime, *, dry: bool = False) -> Rubbish:
    """Forget what is too old, then remove what nothing refers to. `dry`: only count the latter."""
    database = settings.database()
    if settings.retention_days and not dry:
        with database.write() as session:
            retention.forget(session, before=now - timedelta(days=settings.retention_days))
    return gc.collect(database, settings.blobs(), settings.data_dir / "work", now=now, dry=dry)
