"""Which profile suits this machine: `--profile auto`."""

from __future__ import annotations

import os
import platform
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

BOARD_FILE: Final = Path("/proc/device-tree/model")

# The beginning of the board's name in the device tree -> profile; the first that fits.
_BOARDS: Final = (
    ("Raspberry Pi 5", "pi-5"),
    ("Raspberry Pi 500", "pi-5"),
    ("Raspberry Pi Compute Module 5", "pi-5"),
    ("Raspberry Pi 4", "pi-4"),
    ("Raspberry Pi 400", "pi-4"),
    ("Raspberry Pi Compute Module 4", "pi-4"),
    ("Raspberry Pi 3", "pi-3b"),
    ("Raspberry Pi Compute Module 3", "pi-3b"),
    ("Raspberry Pi Zero 2", "pi-zero-2w"),
)
_DESKTOPS: Final = ("x86_64", "amd64")
# What a board has beside its profile's memory budget: system and other programs.
_SMALL_MEMORY_MB: Final = 700


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What tells devices apart. board: from the device tree, "" without one; cpus: usable ones."""

    board: str
    architecture: str
    cpus: int
    memory_mb: int

    def __str__(self) -> str:
        board = self.board or self.architecture
        return f"{board}, {self.cpus} CPUs, {self.memory_mb} MB"


def this_machine() -> Machine:
    """What this process runs on."""
    try:
        board = BOARD_FILE.read_bytes().rstrip(b"\0").decode("utf-8", "replace")
    except OSError:
        board = ""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Machine(
        board="".join(character for character in board if character.isprintable())[:80],
        architecture=platform.machine(),
        cpus=len(os.sched_getaffinity(0)),
        memory_mb=pages >> 20,
    )


def choose_profile(machine: Machine, known: Collection[str]) -> str:
    """The name of the best of the `known` profiles for `machine`.

    A board that is not known by name is judged by its memory, and anything that is no desktop is
    taken for a small board: a profile that is too modest only learns more slowly.
    """
    for beginning, profile in _BOARDS:
        if machine.board.startswith(beginning) and profile in known:
            return profile
    if machine.architecture in _DESKTOPS and machine.memory_mb >= _SMALL_MEMORY_MB:
        wanted = ["workstation", "x86-64"]
    elif machine.memory_mb < _SMALL_MEMORY_MB or machine.cpus == 1:
        wanted = ["pi-zero-2w", "generic-aarch64"]
    else:
        wanted = ["generic-aarch64"]
    return next((name for name in wanted if name in known), min(known))
