"""How many unfinished jobs a tenant may have."""

from sqlalchemy.orm import Session

from service.core.app_state import Backend
from service.errors import TooManyJobs
from service.store import jobs


class Room:
    """How many more jobs each tenant may have unfinished, as of one transaction."""

    def __init__(self, backend: Backend, session: Session) -> None:
        self._limit = backend.settings.max_unfinished_jobs
        self._session = session
        self._left: dict[str, int] = {}

    def take(self, tenant: str) -> None:
        """For one more. Raises `TooManyJobs`."""
        if not self._limit:
            return
        if tenant not in self._left:
            self._left[tenant] = self._limit - jobs.unfinished(self._session, tenant)
        if self._left[tenant] <= 0:
            raise TooManyJobs(
                f"{self._limit} jobs of yours are not finished yet.",
                remedy="Wait for some, cancel some, or put many removals into one batch.",
                headers={"Retry-After": "60"},
            )
        self._left[tenant] -= 1
