"""How often: moving windows of the `limits` library, by owner and by address."""

from __future__ import annotations

import math
import time
from typing import Any

from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter, RateLimiter, SlidingWindowCounterRateLimiter

from apps.engine.settings import Settings

_PEOPLE = 5  # who may log in from one address, such as an office's, beside each other


class Rates:
    """Counts what owners and addresses do, and says how long to wait where it was too often.

    Args:
        settings: The rates; 0 is no limit.
    """

    def __init__(self, settings: Settings) -> None:
        # The moving window is exact and keeps every moment; requests are many, and an estimate will do for them.
        storage = MemoryStorage()
        self._exact, self._cheap = MovingWindowRateLimiter(storage), SlidingWindowCounterRateLimiter(storage)
        rates: dict[str, RateLimitItem] = {
            "login": RateLimitItemPerMinute(settings.logins_per_quarter_hour, 15),
            "login from": RateLimitItemPerMinute(_PEOPLE * settings.logins_per_quarter_hour, 15),
        }
        if settings.requests_per_minute:
            rates["request"] = RateLimitItemPerMinute(settings.requests_per_minute)
        if settings.uploads_per_hour:
            rates["upload"] = RateLimitItemPerHour(settings.uploads_per_hour)
        if settings.upload_megabytes_per_hour:
            rates["megabytes"] = RateLimitItemPerHour(settings.upload_megabytes_per_hour)
        if settings.guests_per_hour:
            rates["guest"] = RateLimitItemPerHour(settings.guests_per_hour)
        self._rates = rates

    def hit(self, what: str, *whose: str, cost: int = 1) -> float:
        """Counts `what` for each of `whose`; the seconds to wait where one of them did it too often, else 0."""
        rate = self._rates.get(what)
        if rate is None:
            return 0.0
        waits = [
            0.0 if self._limiter(what).hit(rate, what, name, cost=cost) else self._wait(rate, what, name)
            for name in whose
        ]
        return max(waits, default=0.0)

    def forget(self, what: str, *whose: str) -> None:
        """Counts from nothing again."""
        rate = self._rates.get(what)
        if rate is not None:
            for name in whose:
                self._limiter(what).clear(rate, what, name)

    def exhausted(self, what: str, *whose: str) -> float:
        """As `hit`, without counting."""
        rate = self._rates.get(what)
        if rate is None:
            return 0.0
        waits = [
            0.0 if self._limiter(what).test(rate, what, name) else self._wait(rate, what, name)
            for name in whose
        ]
        return max(waits, default=0.0)

    def _limiter(self, what: str) -> RateLimiter:
        return self._cheap if what == "request" else self._exact

    def _wait(self, rate: Any, what: str, name: str) -> float:
        return max(
            1.0, math.ceil(self._limiter(what).get_window_stats(rate, what, name).reset_time - time.time())
        )
