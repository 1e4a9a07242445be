"""The quota of unfinished jobs per tenant."""

from sqlalchemy.orm import Session

from service.errors import TooManyJobs
from service.store import jobs


class JobQuota:
    """Counts the unfinished jobs of tenants within one transaction. A `limit` of 0 means no limit."""

    def __init__(self, session: Session, limit: int) -> None:
        self._limit = limit
        self._session = session
        self._left: dict[str, int] = {}

    def reserve(self, tenant: str) -> None:
        """Reserve a place for one more job. Raises `TooManyJobs`."""
        if not self._limit:
            return
        if tenant not in self._left:
            self._left[tenant] = self._limit - jobs.count_unfinished(self._session, tenant)
        if self._left[tenant] <= 0:
            raise TooManyJobs(
                f"You have {self._limit} unfinished jobs, which is the limit.",
                remedy="Wait for jobs to finish, cancel some, or send several removals as one batch.",
                headers={"Retry-After": "60"},
            )
        self._left[tenant] -= 1
