"""Quotas: how many unfinished jobs, dry runs and previews a tenant may have."""

import math
import statistics
from collections import Counter
from functools import cached_property

from sqlalchemy.orm import Session

from service.errors import PlanQueueFull, TooManyJobs, TooManyPlans, TooManyPreviews
from service.settings import ServiceSettings
from service.store import jobs

DEFAULT_DRY_RUN_SECONDS = 5.0
"""Assumed run time of a dry run while none has ended."""


class JobQuota:
    """Counts the unfinished jobs of tenants within one transaction. A limit of 0 means no limit."""

    def __init__(self, session: Session, settings: ServiceSettings) -> None:
        self._session = session
        self._settings = settings
        self._unfinished: dict[str, int] = {}

    def reserve(self, tenant: str) -> None:
        """Reserve a place for one more job. Raises `TooManyJobs`."""
        limit = self._settings.max_unfinished_jobs
        if not limit:
            return
        if tenant not in self._unfinished:
            self._unfinished[tenant] = jobs.count_unfinished(self._session, tenant)
        if self._unfinished[tenant] >= limit:
            raise TooManyJobs(
                f"You have {self._unfinished[tenant]} unfinished jobs; the limit is {limit}.",
                remedy="Wait for jobs to finish, cancel some, or send several removals as one batch.",
                headers={"Retry-After": "60"},
            )
        self._unfinished[tenant] += 1

    def reserve_dry_run(self, tenant: str) -> None:
        """Reserve a place for one more dry run. Raises `TooManyPlans`, `PlanQueueFull`."""
        own, total = self._dry_runs[tenant], self._dry_runs.total()
        if 0 < self._settings.max_dry_runs_per_tenant <= own:
            raise TooManyPlans(
                f"You have {own} unfinished dry runs, which is the limit; {total} are queued or running in total.",
                remedy="Wait for a dry run to finish.",
                headers=self._retry_after(),
            )
        if 0 < self._settings.max_dry_runs <= total:
            raise PlanQueueFull(
                f"{total} dry runs are queued or running, which is the limit.",
                remedy="Try again later, or send the request itself, which is checked in the same way.",
                headers=self._retry_after(),
            )
        self._dry_runs[tenant] += 1

    def reserve_preview(self, tenant: str) -> None:
        """Reserve a place for one more preview. Raises `TooManyPreviews`."""
        limit, own = self._settings.max_previews_per_tenant, jobs.count_unfinished_previews(self._session, tenant)
        if 0 < limit <= own:
            raise TooManyPreviews(
                f"You have {own} unfinished previews; the limit is {limit}.",
                remedy="Wait for a preview to finish, or cancel one.",
                headers={"Retry-After": "10"},
            )

    @cached_property
    def _dry_runs(self) -> Counter[str]:
        return Counter(jobs.count_unfinished_dry_runs(self._session))

    def _retry_after(self) -> dict[str, str]:
        """Return the time that a dry run takes: then a place is free."""
        seconds = jobs.recent_dry_run_seconds(self._session) or [DEFAULT_DRY_RUN_SECONDS]
        return {"Retry-After": str(max(1, math.ceil(statistics.median(seconds))))}
