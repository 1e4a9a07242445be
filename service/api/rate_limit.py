"""Rate limit per API key: a fixed window, counted in this process (`limits`)."""

import math
import time
from collections.abc import Callable, Mapping

from limits import RateLimitItem, parse
from limits.storage import storage_from_string
from limits.strategies import FixedWindowRateLimiter

from service.errors import TooManyRequests


class RateLimiter:
    """Limits the requests of each key. `rule` is, for example, `600/minute`; an empty rule means no limit."""

    def __init__(self, rule: str, storage: str = "memory://", clock: Callable[[], float] = time.time) -> None:
        self._item: RateLimitItem | None = parse(rule) if rule else None
        self._limiter = FixedWindowRateLimiter(storage_from_string(storage))
        self._clock = clock

    def hit(self, key_id: str) -> Mapping[str, str]:
        """Count a request and return the `RateLimit-*` headers of its reply. Raises `TooManyRequests`."""
        if self._item is None:
            return {}
        allowed = self._limiter.hit(self._item, key_id)
        window = self._limiter.get_window_stats(self._item, key_id)
        seconds = max(1, math.ceil(window.reset_time - self._clock()))
        headers = {
            "RateLimit-Limit": str(self._item.amount),
            "RateLimit-Remaining": str(max(0, window.remaining)),
            "RateLimit-Reset": str(seconds),
        }
        if not allowed:
            raise TooManyRequests(
                f"This API key exceeded its rate limit of {self._item}.",
                remedy=f"Wait {seconds} s. Follow jobs by their event stream instead of polling.",
                headers={**headers, "Retry-After": str(seconds)},
            )
        return headers
