"""Retries of database writes. A message or an hour of work is worth waiting a minute for the database."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.orm import Session

from service.store.database import Database
from service.store.errors import StoreUnavailable

RETRY_DELAYS_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Delays between attempts."""

T = TypeVar("T")

log = logging.getLogger(__name__)


def write_with_retry(database: Database, change: Callable[[Session], T]) -> T:
    """Run `change` in a transaction, and try again while the database is unavailable.

    A commit whose answer was lost may have happened, so `change` must be safe to repeat; fenced writes are.

    Raises:
        StoreUnavailable: the database stayed unavailable.
    """
    for delay in RETRY_DELAYS_SECONDS:
        try:
            return _once(database, change)
        except StoreUnavailable as error:
            log.warning("%s Retrying in %g s.", error.message, delay)
            time.sleep(delay)
    return _once(database, change)


def _once(database: Database, change: Callable[[Session], T]) -> T:
    with database.write() as session:
        return change(session)
