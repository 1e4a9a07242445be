"""How often a key may ask: a fixed window per key, counted in this process (`limits`)."""

import math
import time
from collections.abc import Callable, Mapping

from limits import RateLimitItem, parse
from limits.storage import storage_from_string
from limits.strategies import FixedWindowRateLimiter

from service.errors import TooManyRequests


class RateLimit:
    """One limit for each key. `rule` is as in `600/minute`; empty: no limit."""

    def __init__(self, rule: str, storage: str = "memory://", clock: Callable[[], float] = time.time) -> None:
        self._item: RateLimitItem | None = parse(rule) if rule else None
        self._limiter = FixedWindowRateLimiter(storage_from_string(storage))
        self._clock = clock

    def hit(self, who: str) -> Mapping[str, str]:
        """Count a request, and tell where its sender stands: `RateLimit-*` headers. Raises `TooManyRequests`."""
        if self._item is None:
            return {}
        allowed = self._limiter.hit(self._item, who)
        window = self._limiter.get_window_stats(self._item, who)
        seconds = max(1, math.ceil(window.reset_time - self._clock()))
        headers = {
            "RateLimit-Limit": str(self._item.amount),
            "RateLimit-Remaining": str(max(0, window.remaining)),
            "RateLimit-Reset": str(seconds),
        }
        if not allowed:
            raise TooManyRequests(
                f"more than {self._item} came with this key.",
                remedy=f"Wait {seconds} s; follow a job by its stream instead of asking again and again.",
                headers={**headers, "Retry-After": str(seconds)},
            )
        return headers
