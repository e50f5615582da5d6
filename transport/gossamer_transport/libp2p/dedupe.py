"""Which messages were seen before. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable


class Recent:
    """Remembers the newest `keys_max` keys for `hold_s`, counted from when they were first seen."""

    def __init__(self, hold_s: float, keys_max: int) -> None:
        self._hold_s = hold_s
        self._keys_max = keys_max
        self._seen: OrderedDict[Hashable, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seen)

    def is_new(self, key: Hashable, now: float) -> bool:
        """Return whether `key` was not seen lately; from now on it was."""
        while self._seen:
            oldest, since = next(iter(self._seen.items()))
            if now - since < self._hold_s and len(self._seen) < self._keys_max:
                break
            del self._seen[oldest]
        if key in self._seen:
            return False
        self._seen[key] = now
        return True
