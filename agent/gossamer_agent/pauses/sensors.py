"""Reads what a device tells of itself: sysfs, /proc, the clock. Linux only; elsewhere it is blind.

Files: thermal zones and hwmon of sysfs, power_supply of sysfs, PSI (/proc/pressure/memory),
/proc/loadavg, /proc/self/io. All of it takes about a millisecond; call it in a thread all the same,
since a sensor behind I2C may be slow.
"""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from gossamer_agent.pauses.governor import Readings

FILE_BYTES_MAX: Final = 4096
CELSIUS_RANGE: Final = (-40.0, 150.0)
"""Outside of it a sensor is broken or absent, whatever it says."""
LOAD_WINDOW_S: Final = 60.0
"""Over which /proc/loadavg's first figure is smoothed."""

_AVG10: Final = re.compile(r"^some avg10=(\d+\.\d+)", re.MULTILINE)
_WRITTEN: Final = re.compile(r"^write_bytes: (\d+)$", re.MULTILINE)


class Sensors:
    """Of the machine whose file systems lie at `sys_root` and `proc_root`.

    network_bytes: the counter of both directions. monotonic, cpu_seconds, local_time: clocks.
    """

    def __init__(
        self,
        network_bytes: Callable[[], int],
        *,
        sys_root: Path = Path("/sys"),
        proc_root: Path = Path("/proc"),
        monotonic: Callable[[], float] = time.monotonic,
        cpu_seconds: Callable[[], float] = time.process_time,
        local_time: Callable[[], time.struct_time] = time.localtime,
    ) -> None:
        self._network_bytes = network_bytes
        self._sys = sys_root
        self._proc = proc_root
        self._monotonic = monotonic
        self._cpu_seconds = cpu_seconds
        self._local_time = local_time
        self._cores = max(1, os.cpu_count() or 1)
        self._own_load = 0.0
        self._own_at = (monotonic(), cpu_seconds())
        self._written_before = self._written_by_process() or 0

    def read(self) -> Readings:
        """Everything, now. Never raises; what cannot be read is None."""
        local = self._local_time()
        battery, on_mains = self._power()
        return Readings(
            celsius=self._celsius(),
            memory_percent=_found(_AVG10, _text(self._proc / "pressure" / "memory")),
            battery_percent=battery,
            on_mains=on_mains,
            load_per_core=self._others_load(),
            minute=60 * local.tm_hour + local.tm_min + min(local.tm_sec, 59) / 60,
            network_bytes=self._network_bytes(),
            flash_bytes=self._written(),
        )

    def _celsius(self) -> float | None:
        """Of the hottest zone. Boards without thermal zones have hwmon."""
        for pattern in ("class/thermal/thermal_zone*/temp", "class/hwmon/hwmon*/temp1_input"):
            values = [_number(path, 1000.0) for path in _glob(self._sys, pattern)]
            low, high = CELSIUS_RANGE
            known = [value for value in values if value is not None and low < value < high]
            if known:
                return max(known)
        return None

    def _power(self) -> tuple[float | None, bool | None]:
        """Charge of the emptiest battery of the device itself, and whether mains feeds it."""
        charges: list[float] = []
        mains: list[bool] = []
        ports: list[bool] = []
        statuses: list[str] = []
        for supply in _glob(self._sys, "class/power_supply/*"):
            kind = _word(supply / "type")
            if _word(supply / "scope") == "Device":  # of a mouse, not ours
                continue
            if kind == "Battery":
                charge = _number(supply / "capacity")
                if charge is not None and 0 <= charge <= 100:
                    charges.append(charge)
                statuses.append(_word(supply / "status"))
            elif kind == "Mains" or kind.startswith("USB"):
                online = _number(supply / "online")
                if online is not None:
                    (mains if kind == "Mains" else ports).append(online > 0)
        if statuses or any(ports):  # else: ports with nothing in them, of a board without a battery
            mains += ports
        if any(mains):
            on_mains: bool | None = True
        elif mains or "Discharging" in statuses:
            on_mains = False
        else:
            on_mains = True if statuses else None
        return min(charges, default=None), on_mains

    def _others_load(self) -> float | None:
        """Load average of a minute per core, without what this process itself used."""
        words = _text(self._proc / "loadavg").split()
        now, used = self._monotonic(), self._cpu_seconds()
        passed = now - self._own_at[0]
        if passed > 0:
            running = (used - self._own_at[1]) / passed
            self._own_load += (running - self._own_load) * (1 - math.exp(-passed / LOAD_WINDOW_S))
            self._own_at = (now, used)
        try:
            load = float(words[0])
        except (IndexError, ValueError):
            return None
        return max(0.0, load - self._own_load) / self._cores

    def _written(self) -> int | None:
        """Bytes written since the agent began: a program that embeds one wrote before, too."""
        written = self._written_by_process()
        return None if written is None else max(0, written - self._written_before)

    def _written_by_process(self) -> int | None:
        """Bytes that this process made the kernel write to disks, in whole pages."""
        found = _found(_WRITTEN, _text(self._proc / "self" / "io"))
        return None if found is None else int(found)


def _glob(root: Path, pattern: str) -> list[Path]:
    try:
        return sorted(root.glob(pattern))
    except OSError:
        return []


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(FILE_BYTES_MAX).decode("ascii", "replace")
    except OSError:
        return ""


def _word(path: Path) -> str:
    return _text(path).strip()


def _number(path: Path, unit: float = 1.0) -> float | None:
    try:
        value = float(_word(path)) / unit
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _found(pattern: re.Pattern[str], text: str) -> float | None:
    found = pattern.search(text)
    return None if found is None else float(found[1])
