"""Keeps a running agent within the means of its device: takes readings, asks the governor, tells
the core, and carries the budgets over restarts.

What is decided, and why, is the business of `gossamer_agent.pauses`. Readings are taken before
each round and every few seconds between, in a thread. The state of the budgets is saved lazily
every ten minutes, when a hundredth of one (or 1 MB, if that is more) was spent, at each change, and
at the end: whatever kills the agent, however often, undoes no more than that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import trio

from gossamer_agent.errors import StoreError
from gossamer_agent.events import Event
from gossamer_agent.pauses.governor import Governor, Readings
from gossamer_agent.pauses.limits import DeviceLimits
from gossamer_agent.pauses.pacing import Pacer
from gossamer_agent.pauses.permissions import ALWAYS, PauseKind, Permissions
from gossamer_agent.pauses.saved import KEY, SPACE, pack_spent, parse_spent
from gossamer_agent.pauses.sensors import Sensors
from gossamer_agent.store.state import StateStore

if TYPE_CHECKING:
    from gossamer_agent.round import AgentCore
    from gossamer_agent.runtime import AgentRuntime

CHECK_S: Final = 10.0
SAVE_S: Final = 600.0
SAVE_SHARE: Final = 0.01
SAVE_BYTES: Final = 1_000_000
"""Saved is what was spent, once it is both a hundredth of a budget and far more than a save costs
(some blocks of 4 KiB): saves must not exhaust the budget of flash by themselves."""


class Pausing:
    """Of one agent. runtime: the running one, if any. wall: seconds since 1970.

    permissions: what may be done now. readings: the newest. begun: how often each kind of pause
    began, since the start. trouble: why the budgets of the last run are not known, for the status.
    """

    def __init__(
        self,
        limits: DeviceLimits,
        sensors: Sensors,
        state: StateStore,
        interval_s: float,
        *,
        runtime: Callable[[], AgentRuntime | None],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.permissions: Permissions = ALWAYS
        self.readings = Readings()
        self.begun: dict[PauseKind, int] = dict.fromkeys(PauseKind, 0)
        self.trouble: str | None = None
        self._sensors = sensors
        self._state = state
        self._interval_s = interval_s
        self._runtime = runtime
        self._wall = wall
        self._pacer = Pacer(interval_s)
        self._saved_s = float("-inf")
        self._one_at_a_time = trio.Lock()
        self.governor = self._restored(limits)
        self._saved = self.governor.spent()

    def attach(self, _: AgentCore) -> None:
        """A new core runs from now on; it knows of no pause."""
        self._pacer = Pacer(self._interval_s)

    async def due(self) -> Sequence[Event]:
        """What the core is told when a round is due."""
        await self._look()
        return self._pacer.tick(trio.current_time(), self.permissions)

    async def run(self) -> None:
        """Look every few seconds until cancelled; the last save is for `save_now`."""
        while True:
            await trio.sleep(CHECK_S)
            await self._look()
            runtime = self._runtime()
            if runtime is not None:
                for event in self._pacer.check(trio.current_time(), self.permissions):
                    await runtime.tell(event)
            if trio.current_time() - self._saved_s >= SAVE_S or self._spent_much():
                await self._save()

    def save_now(self) -> None:
        """At the end, when no other task runs any more."""
        with suppress(StoreError):
            self._put()

    async def _look(self) -> None:
        # The older of two readings, seen last, would look like counters that began again at 0.
        async with self._one_at_a_time:
            self.readings = await trio.to_thread.run_sync(self._sensors.read)
            before = {pause.kind for pause in self.permissions.reasons}
            self.permissions = self.governor.observe(trio.current_time(), self.readings)
        now = {pause.kind for pause in self.permissions.reasons}
        for kind in now - before:
            self.begun[kind] += 1
        if now != before:
            await self._save()

    def _spent_much(self) -> bool:
        limits, now, saved = self.governor.limits, self.governor.spent(), self._saved
        return any(
            spent >= max(SAVE_SHARE * budget, SAVE_BYTES)
            for spent, budget in (
                (saved.network_level - now.network_level, limits.network_bytes_per_day),
                (saved.flash_level - now.flash_level, limits.flash_bytes_per_day),
            )
        )

    async def _save(self) -> None:
        self._saved_s, self._saved = trio.current_time(), self.governor.spent()
        with suppress(
            StoreError
        ):  # the next one will do; who cannot write at all is told elsewhere
            await trio.to_thread.run_sync(self._put)

    def _put(self) -> None:
        self._state.put_lazily(SPACE, KEY, pack_spent(self.governor.spent(), self._wall()))

    def _restored(self, limits: DeviceLimits) -> Governor:
        try:
            row = self._state.get(SPACE, KEY)
            if row is not None:
                return Governor(limits, *parse_spent(row, self._wall()))
        except StoreError as error:
            self.trouble = f"the budgets begin anew: {error}"
        return Governor(limits)
