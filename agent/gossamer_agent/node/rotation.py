"""When epochs end: the grace time of the previous one, and the stewards' timer for the next.

All times are uptime of this process: a device without a clock of its own may believe in any year.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import trio

GRACE_S: Final = 24 * 3600.0
"""How long entries of the previous epoch are still accepted."""
STAND_IN_S: Final = 900.0
"""How much later each further steward rotates, so that only the first one alive does."""
CHECK_S: Final = 30.0


class Rotation:
    """Watches the age of the current epoch. `run` until cancelled.

    retire: ends the acceptance of the previous epoch. rotate: announces a new one; None unless we
    are a steward, `turn` is our place among them. rotate_hours: 0 means never.
    """

    def __init__(
        self,
        *,
        retire: Callable[[], None],
        rotate: Callable[[], Awaitable[None]] | None,
        turn: int = 0,
        rotate_hours: float,
    ) -> None:
        self._retire = retire
        self._rotate = rotate if rotate_hours > 0 else None
        self._after_s = rotate_hours * 3600.0 + turn * STAND_IN_S
        self._moved_s = trio.current_time()
        self._in_grace = True

    def epoch_moved(self) -> None:
        """A new epoch began; the one before it is accepted for the grace time from now on."""
        self._moved_s = trio.current_time()
        self._in_grace = True

    async def run(self) -> None:
        while True:
            await trio.sleep(CHECK_S)
            age_s = trio.current_time() - self._moved_s
            if self._in_grace and age_s >= GRACE_S:
                self._in_grace = False
                self._retire()
            if self._rotate is not None and age_s >= self._after_s:
                # Set here too: a rotation that fails is tried again after a whole period.
                self._moved_s = trio.current_time()
                await self._rotate()
