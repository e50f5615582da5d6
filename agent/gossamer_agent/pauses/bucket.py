"""A token bucket over a day (as RFC 2697, 3): it refills evenly and holds one day's budget at most.

So N days use N + 1 budgets at most, and one day two, where the day before used none. What is
counted after the fact can bring the level below zero, one day's budget at most: whatever a counter
or a clock does, the bucket is usable again after two days.
"""

from __future__ import annotations

from typing import Final

DAY_S: Final = 86_400.0


class TokenBucket:
    """per_day: bytes, also the capacity. left: bytes at the start, full by default.

    Raises ValueError for a budget that is not positive.
    """

    __slots__ = ("_at_s", "_level", "per_day")

    def __init__(self, per_day: float, left: float | None = None) -> None:
        if not per_day > 0:
            raise ValueError("a budget is above 0 bytes a day")
        self.per_day = per_day
        self._level = per_day
        self._at_s: float | None = None  # when it was refilled last
        if left is not None:
            self._level = min(max(left, -per_day), per_day)

    @property
    def level(self) -> float:
        """Bytes that may be spent now; below zero: overdrawn."""
        return self._level

    def refill(self, now_s: float) -> None:
        """Time went on. A clock that went back refills nothing."""
        if self._at_s is not None and now_s > self._at_s:
            self.add((now_s - self._at_s) / DAY_S * self.per_day)
        self._at_s = now_s

    def add(self, tokens: float) -> None:
        """Put bytes in, not above the capacity."""
        self._level = min(self._level + max(tokens, 0.0), self.per_day)

    def spend(self, tokens: float) -> None:
        """Take bytes out that were used."""
        self._level = max(self._level - max(tokens, 0.0), -self.per_day)

    def seconds_until(self, level: float) -> float:
        """How long the refill to `level` takes if nothing is spent meanwhile."""
        return max(level - self._level, 0.0) / self.per_day * DAY_S
