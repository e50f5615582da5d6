"""Decides from readings whether a device learns, publishes and keeps. Pure.

Theory of operation. Each kind of pause is a switch with two thresholds: it goes on at the one and
off at the other, so that a value that trembles does not make the agent stutter. A sensor that a
device lacks, or has lost, pauses nothing.

Bytes come as counters since the start of the process; the governor takes their growth out of token
buckets that refill with time (`bucket`). Learning stops while a tenth of the day's budget is left:
what is written and sent besides, control traffic above all, lives on that reserve and the refill.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gossamer_agent.pauses.bucket import DAY_S, TokenBucket
from gossamer_agent.pauses.limits import MB, DeviceLimits
from gossamer_agent.pauses.permissions import Pause, PauseKind, Permissions
from gossamer_agent.profile import in_hours, minutes_of

RESERVE_SHARE: Final = 0.10
RESUME_SHARE: Final = 0.15
"""Of a day's budget: learning stops below the first, and goes on above the second."""
IDLE_RESUME: Final = 0.8
"""Learning goes on below this share of `idle_load_max`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """What a device measures at one moment; None: it has no such sensor.

    memory_percent: PSI "some avg10". on_mains: None counts as mains. load_per_core: of everything
    but this agent. minute: local time of day, 0 <= minute < 1440. network_bytes, flash_bytes:
    counters since the start of the agent.
    """

    celsius: float | None = None
    memory_percent: float | None = None
    battery_percent: float | None = None
    on_mains: bool | None = None
    load_per_core: float | None = None
    minute: float = 0.0
    network_bytes: int = 0
    flash_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What is left of the budgets, in bytes; never below 0. flash_counted: whether it is at all."""

    network_bytes: float
    network_bytes_per_day: float
    flash_bytes: float
    flash_bytes_per_day: float
    flash_counted: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What must survive a restart: levels of the buckets in bytes, and which budgets pause."""

    network_level: float
    flash_level: float
    network_paused: bool = False
    flash_paused: bool = False


class Governor:
    """One device's. `spent`: of its last run, with the time since then (`away_s`) to refill."""

    def __init__(
        self, limits: DeviceLimits, spent: Spent | None = None, away_s: float = 0.0
    ) -> None:
        self.limits = limits
        self._network = TokenBucket(limits.network_bytes_per_day)
        self._flash = TokenBucket(limits.flash_bytes_per_day)
        self._counted = {PauseKind.NETWORK: 0, PauseKind.FLASH: 0}
        self._flash_counted = True
        self._paused: dict[PauseKind, float] = {}  # -> since when
        self._before: set[PauseKind] = set()  # paused when the last run ended
        if spent is not None:
            self._remember(spent, away_s)

    def observe(self, now_s: float, readings: Readings) -> Permissions:
        """What may be done now. now_s: of a clock that never goes back."""
        self._count(now_s, readings)
        reasons = []
        for kind, judge in self._judges().items():
            paused = kind in self._paused or kind in self._before
            told = judge(readings, paused)
            if told is None:
                self._paused.pop(kind, None)
                continue
            since_s = self._paused.setdefault(kind, now_s)
            reasons.append(Pause(kind=kind, since_s=since_s, why=told[0], ends=told[1]))
        self._before.clear()
        return Permissions(
            learn=not reasons,
            publish=PauseKind.NETWORK not in self._paused,
            keep=PauseKind.FLASH not in self._paused,
            reasons=tuple(reasons),
        )

    def left(self) -> Left:
        """The state of the budgets at the last observation."""
        return Left(
            network_bytes=max(self._network.level, 0.0),
            network_bytes_per_day=self._network.per_day,
            flash_bytes=max(self._flash.level, 0.0),
            flash_bytes_per_day=self._flash.per_day,
            flash_counted=self._flash_counted,
        )

    def spent(self) -> Spent:
        """What a later run goes on with."""
        return Spent(
            network_level=self._network.level,
            flash_level=self._flash.level,
            network_paused=PauseKind.NETWORK in self._paused,
            flash_paused=PauseKind.FLASH in self._paused,
        )

    def _remember(self, spent: Spent, away_s: float) -> None:
        limits = self.limits
        self._network = TokenBucket(limits.network_bytes_per_day, spent.network_level)
        self._flash = TokenBucket(limits.flash_bytes_per_day, spent.flash_level)
        for bucket in (self._network, self._flash):
            bucket.add(away_s / DAY_S * bucket.per_day)
        if spent.network_paused:
            self._before.add(PauseKind.NETWORK)
        if spent.flash_paused:
            self._before.add(PauseKind.FLASH)

    # Counting ------------------------------------------------------------------------------------

    def _count(self, now_s: float, readings: Readings) -> None:
        self._flash_counted = readings.flash_bytes is not None
        for kind, bucket, counter in (
            (PauseKind.NETWORK, self._network, readings.network_bytes),
            (PauseKind.FLASH, self._flash, readings.flash_bytes),
        ):
            bucket.refill(now_s)
            if counter is not None:
                before = self._counted[kind]
                # A counter that went back began again at 0.
                bucket.spend(counter - before if counter >= before else counter)
                self._counted[kind] = counter

    # Judging -------------------------------------------------------------------------------------

    def _judges(self) -> dict[PauseKind, _Judge]:
        return {
            PauseKind.HEAT: self._heat,
            PauseKind.MEMORY: self._memory,
            PauseKind.BATTERY: self._battery,
            PauseKind.MAINS: self._mains,
            PauseKind.HOURS: self._hours,
            PauseKind.BUSY: self._busy,
            PauseKind.NETWORK: lambda _, paused: _budget(self._network, paused),
            PauseKind.FLASH: lambda _, paused: _budget(self._flash, paused),
        }

    def _heat(self, readings: Readings, paused: bool) -> _Told | None:
        value, limits = readings.celsius, self.limits
        high, low = limits.pause_above_celsius, limits.resume_below_celsius
        if value is None or not _is_high(value, high, low, paused):
            return None
        return f"{value:.1f} °C, limit {high:g}", f"below {low:g} °C"

    def _memory(self, readings: Readings, paused: bool) -> _Told | None:
        value, limits = readings.memory_percent, self.limits
        high, low = limits.pause_above_memory_percent, limits.resume_below_memory_percent
        if value is None or not _is_high(value, high, low, paused):
            return None
        why = f"programs wait for memory {value:.1f} % of the time, limit {high:g}"
        return why, f"below {low:g} %"

    def _battery(self, readings: Readings, paused: bool) -> _Told | None:
        value, limits = readings.battery_percent, self.limits
        low, high = limits.pause_below_battery_percent, limits.resume_above_battery_percent
        if value is None or readings.on_mains is not False:
            return None
        if value > high if paused else value >= low:
            return None
        return f"battery at {value:.0f} %, limit {low:g}", f"above {high:g} %, or on mains"

    def _mains(self, readings: Readings, paused: bool) -> _Told | None:  # noqa: ARG002
        if not self.limits.mains_only or readings.on_mains is not False:
            return None
        return "on battery", "on mains power"

    def _hours(self, readings: Readings, paused: bool) -> _Told | None:  # noqa: ARG002
        hours = self.limits.hours
        if in_hours(hours, readings.minute):
            return None
        begin = min(
            (minutes_of(span)[0] for span in hours),
            key=lambda minute: (minute - readings.minute) % (24 * 60),
        )
        return f"learns {', '.join(hours)}", f"at {begin // 60:02}:{begin % 60:02}"

    def _busy(self, readings: Readings, paused: bool) -> _Told | None:
        value, high = readings.load_per_core, self.limits.idle_load_max
        low = IDLE_RESUME * high
        if not self.limits.idle_only or value is None or not _is_high(value, high, low, paused):
            return None
        return f"other work loads each core by {value:.2f}, limit {high:g}", f"below {low:.2g}"


_Told = tuple[str, str]
"""What is the case, and what ends it."""
_Judge = Callable[[Readings, bool], _Told | None]
"""(readings, whether it pauses already) -> why it pauses now, or None."""


def _is_high(value: float, high: float, low: float, paused: bool) -> bool:
    return value >= low if paused else value > high


def _budget(bucket: TokenBucket, paused: bool) -> _Told | None:
    resume_at = RESUME_SHARE * bucket.per_day
    if bucket.level >= (resume_at if paused else RESERVE_SHARE * bucket.per_day):
        return None
    wait_h = bucket.seconds_until(resume_at) / 3600
    why = f"{max(bucket.level, 0.0) / MB:.1f} of {bucket.per_day / MB:g} MB a day are left"
    return why, f"at {resume_at / MB:g} MB, in {wait_h:.1f} h at the earliest"
