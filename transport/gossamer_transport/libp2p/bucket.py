"""Token buckets: how much a peer may ask of us per second, in bursts up to a bound. Pure."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


class TokenBucket:
    """Holds up to `burst` tokens and gains `rate_per_s`; full at first. Time is the caller's."""

    __slots__ = ("_burst", "_rate_per_s", "_tokens", "_updated_at")

    def __init__(self, rate_per_s: float, burst: float, now: float) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._tokens = burst
        self._updated_at = now

    def take(self, now: float, tokens: float = 1.0) -> bool:
        """Take `tokens` if that many are there; otherwise take none and return False."""
        self._refill(now)
        if self._tokens < tokens:
            return False
        self._tokens -= tokens
        return True

    def wait_s(self, now: float, tokens: float = 1.0) -> float:
        """Return the seconds until `tokens` are there; infinity if that is above the burst."""
        self._refill(now)
        if tokens > self._burst:
            return float("inf")
        return max(0.0, (tokens - self._tokens) / self._rate_per_s)

    def is_full(self, now: float) -> bool:
        """Return whether nothing has been taken for so long that the past does not matter."""
        self._refill(now)
        return self._tokens >= self._burst

    def _refill(self, now: float) -> None:
        gained = max(0.0, now - self._updated_at) * self._rate_per_s
        self._tokens = min(self._burst, self._tokens + gained)
        self._updated_at = max(now, self._updated_at)


class Buckets(Generic[Key]):
    """One bucket per key. Above `keys_max` keys the full ones are forgotten, then the oldest."""

    def __init__(self, rate_per_s: float, burst: float, keys_max: int = 4096) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._keys_max = keys_max
        self._buckets: dict[Key, TokenBucket] = {}

    def take(self, key: Key, now: float, tokens: float = 1.0) -> bool:
        """Take `tokens` from the bucket of `key`, as `TokenBucket.take`."""
        bucket = self._buckets.get(key)
        if bucket is None:
            self._make_room(now)
            bucket = self._buckets[key] = TokenBucket(self._rate_per_s, self._burst, now)
        return bucket.take(now, tokens)

    def __len__(self) -> int:
        return len(self._buckets)

    def _make_room(self, now: float) -> None:
        if len(self._buckets) < self._keys_max:
            return
        full = [key for key, bucket in self._buckets.items() if bucket.is_full(now)]
        for key in full or [next(iter(self._buckets))]:
            del self._buckets[key]
