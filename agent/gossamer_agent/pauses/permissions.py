"""What an agent may do now, and why not more."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class PauseKind(StrEnum):
    """Why an agent rests; the values are part of the status and of metrics."""

    HEAT = "heat"
    MEMORY = "memory"
    BATTERY = "battery"
    MAINS = "mains"
    HOURS = "hours"
    BUSY = "busy"
    NETWORK = "network"
    FLASH = "flash"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """One reason to rest. since_s: of the clock that `Governor.observe` is given.

    why: what is the case; ends: what ends it; both in words.
    """

    kind: PauseKind
    since_s: float
    why: str
    ends: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Permissions:
    """learn: begin rounds. publish: send and fetch deltas; control frames may always be sent.

    keep: write what others published to the disk. reasons: in the order of `PauseKind`.
    """

    learn: bool = True
    publish: bool = True
    keep: bool = True
    reasons: tuple[Pause, ...] = ()


ALWAYS: Final = Permissions()
"""Of a device that nothing limits."""
