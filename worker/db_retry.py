"""Waiting for a database that is away. What a worker holds, a message or an hour of work, is worth a minute."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.orm import Session

from service.store.database import Database
from service.store.errors import StoreUnavailable

RETRY_DELAYS_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Seconds."""

T = TypeVar("T")

log = logging.getLogger(__name__)


def write_with_retry(database: Database, change: Callable[[Session], T]) -> T:
    """One transaction, tried again while the database is away.

    A commit whose answer was lost may have happened: `change` has to notice that it has been done. The fence sees to it.

    Raises:
        StoreUnavailable: it stays away.
    """
    for pause in RETRY_DELAYS_SECONDS:
        try:
            return _once(database, change)
        except StoreUnavailable as error:
            log.warning("%s Waiting %g s.", error.message, pause)
            time.sleep(pause)
    return _once(database, change)


def _once(database: Database, change: Callable[[Session], T]) -> T:
    with database.write() as session:
        return change(session)
