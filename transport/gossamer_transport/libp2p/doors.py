"""How many connections may be in their handshake at once, in all and per address. Pure.

A full door lets the newcomer in and drops whoever has waited longest: an honest handshake takes
well under a second, so sockets that are held open in silence cannot keep anybody out.
"""

from __future__ import annotations

from typing import Final

PENDING_MAX: Final = 128
PENDING_PER_ADDRESS_MAX: Final = 32


class Doors:
    """Handshakes under way, by number, in the order in which they began."""

    def __init__(
        self, pending_max: int = PENDING_MAX, per_address_max: int = PENDING_PER_ADDRESS_MAX
    ) -> None:
        self._pending_max = pending_max
        self._per_address_max = per_address_max
        self._pending: dict[int, str] = {}
        self._count = 0

    def __len__(self) -> int:
        return len(self._pending)

    def enter(self, address: str) -> tuple[int, int | None]:
        """Return the number of a new handshake, and that of one to be dropped for it, if any."""
        dropped: int | None = None
        same = [number for number, other in self._pending.items() if other == address]
        if len(same) >= self._per_address_max:
            dropped = same[0]
        elif len(self._pending) >= self._pending_max:
            dropped = next(iter(self._pending))
        if dropped is not None:
            del self._pending[dropped]
        self._count += 1
        self._pending[self._count] = address
        return self._count, dropped

    def leave(self, number: int) -> None:
        """Note the end of a handshake; one that was dropped has left already."""
        self._pending.pop(number, None)
