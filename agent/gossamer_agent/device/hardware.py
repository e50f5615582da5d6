"""What this machine is, and which profile suits it: `--profile auto`, `gossamer profile detect`.

Theory of operation. The device tree of a board says what it is, twice: `model` is a name for
people, to which the firmware adds a revision, and `compatible` lists the board and its processor
for drivers. A board that is known by neither is judged by its architecture and memory. What the
profile of a board may use must leave room for the system, so a board with little memory gets a
smaller profile: one that is too modest only learns more slowly.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gossamer_agent.profile import Profile

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
# The processor, for boards whose name says nothing: that of the Pi 3 and of the Zero 2 is the same.
_PROCESSORS: Final = {
    "brcm,bcm2712": "pi-5",
    "brcm,bcm2711": "pi-4",
    "brcm,bcm2837": "pi-3b",
}
# From the largest to the smallest: where to look if the memory is too small.
_SMALLER: Final = ("pi-5", "pi-4", "generic-aarch64", "pi-3b", "pi-zero-2w")
_DESKTOPS: Final = ("x86_64", "amd64")
_SMALL_MEMORY_MB: Final = 700
MEMORY_SHARE: Final = 0.6
"""How much of the memory a profile may let the agent use; the rest is the system's."""
_TEXT_MAX: Final = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What tells devices apart.

    board: from the device tree, "" without one; compatible: board and processor, as drivers name
    them; cpus: usable ones; memory_mb: 10^6 bytes each, what a container may use if that is less.
    """

    board: str
    architecture: str
    cpus: int
    memory_mb: int
    compatible: tuple[str, ...] = ()

    def __str__(self) -> str:
        board = self.board or self.architecture
        return f"{board}, {self.cpus} CPUs, {self.memory_mb} MB"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """profile: its name; reason: why this one; notes: what the user should know besides."""

    profile: str
    reason: str
    notes: tuple[str, ...] = ()


def this_machine(
    root: Path = Path("/"), *, architecture: str | None = None, cpus: int | None = None
) -> Machine:
    """What this process runs on. root: where /proc and /sys are."""
    tree = root / "proc" / "device-tree"
    return Machine(
        board="".join(_strings(tree / "model")[:1]),
        architecture=platform.machine() if architecture is None else architecture,
        cpus=len(os.sched_getaffinity(0)) if cpus is None else cpus,
        memory_mb=_memory_mb(root),
        compatible=tuple(_strings(tree / "compatible")),
    )


def choose_profile(machine: Machine, known: Mapping[str, Profile]) -> Choice:
    """The best of the `known` profiles, of which there is at least one, for `machine`."""
    wanted, reason = _wanted(machine)
    name = next((name for name in wanted if name in known), min(known))
    if wanted[0] in known or name not in wanted:
        fitting = _that_fits(machine, known, name)
        if fitting != name:
            reason += (
                f"; its profile {name} lets the agent use {known[name].memory_mb_max:,} MB,"
                f" too much for {machine.memory_mb:,} MB"
            )
            name = fitting
    return Choice(profile=name, reason=reason, notes=(*_notes(machine, known[name]),))


def _wanted(machine: Machine) -> tuple[list[str], str]:
    """Names of profiles, the best first, and why."""
    for beginning, profile in _BOARDS:
        # "Raspberry Pi 5" is no "Raspberry Pi 500", and a Pi 50 would be neither.
        if re.match(rf"{re.escape(beginning)}(?![0-9])", machine.board):
            return [profile, "generic-aarch64"], f"the device tree calls it {machine.board}"
    for processor, profile in _PROCESSORS.items():
        if processor in machine.compatible:
            return [profile, "generic-aarch64"], f"its processor is a {processor}"
    if machine.architecture in _DESKTOPS and machine.memory_mb >= _SMALL_MEMORY_MB:
        return ["x86-64"], f"it is a computer of the {machine.architecture} kind"
    named = f"no class is known for {machine.board!r}" if machine.board else "it names no board"
    if machine.memory_mb < _SMALL_MEMORY_MB:
        return ["pi-zero-2w", "generic-aarch64"], f"{named}, and {machine.memory_mb} MB is little"
    if machine.cpus == 1:
        return ["pi-zero-2w", "generic-aarch64"], f"{named}, and one CPU is little"
    return ["generic-aarch64"], f"{named}"


def _that_fits(machine: Machine, known: Mapping[str, Profile], name: str) -> str:
    """`name`, or the next smaller profile whose agent leaves room in this memory."""
    if name not in _SMALLER:
        return name
    smaller = [other for other in _SMALLER[_SMALLER.index(name) :] if other in known]
    for other in smaller:
        if known[other].memory_mb_max <= MEMORY_SHARE * machine.memory_mb:
            return other
    return smaller[-1]


def _notes(machine: Machine, profile: Profile) -> list[str]:
    notes = []
    if profile.memory_mb_max > MEMORY_SHARE * machine.memory_mb:
        notes.append(
            f"the agent may use {profile.memory_mb_max:,} of {machine.memory_mb:,} MB; set"
            " memory_mb_max lower in a profile of your own"
        )
    if machine.architecture.startswith("armv"):
        notes.append("this is a 32-bit system; a 64-bit one is needed for the TFLite runtime")
    if machine.cpus < profile.threads:
        notes.append(f"it has {machine.cpus} usable CPUs, fewer than the profile's threads")
    return notes


def _strings(file: Path) -> list[str]:
    """The strings of a device-tree property, each ended by a zero byte; [] without the file."""
    try:
        with file.open("rb") as opened:
            raw = opened.read(4096)
    except OSError:
        return []
    texts = raw.decode("utf-8", "replace").split("\0")
    printable = ("".join(filter(str.isprintable, text))[:_TEXT_MAX] for text in texts)
    return [text for text in printable if text]


def _memory_mb(root: Path) -> int:
    """Memory of the machine, or the limit of its container (cgroup version 2) if that is less."""
    found = re.search(r"^MemTotal:\s+(\d{1,15}) kB$", _text(root / "proc" / "meminfo"), re.M)
    if found:
        size = int(found[1]) * 1024
    else:
        size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = _text(root / "sys" / "fs" / "cgroup" / "memory.max").strip()
    if re.fullmatch(r"\d{1,19}", limit):
        size = min(size, int(limit))
    return size // 1_000_000


def _text(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return opened.read(65_536).decode("ascii", "replace")
    except OSError:
        return ""
