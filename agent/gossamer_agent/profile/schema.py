"""The keys of a profile: unit in the name, range and meaning of each, declared once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from gossamer_agent.profile.hours import minutes_of
from gossamer_agent.tables import flag, number, table, text, texts, whole

_DEVICE: Final = re.compile(r"/dev(/[A-Za-z0-9_+:@-][A-Za-z0-9_+.:@-]*)+")


def _check_hours(hours: str) -> None:
    minutes_of(hours)


def _check_device(path: str) -> None:
    # It goes into a systemd unit, where a blank or a % would mean something else.
    if _DEVICE.fullmatch(path) is None:
        raise ValueError(f'{path!r:.80} is no device such as "/dev/vcio"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What the agent may use up. Megabytes are 10^6 bytes."""

    network_mb_per_day: float = number(
        0.01, 1e7, about="megabytes a day over the network, both directions, control included"
    )
    flash_mb_per_day: float = number(
        0.01, 1e7, about="megabytes a day that the agent writes to its folder"
    )
    blobs_mb: int = whole(
        0, 1_000_000, about="megabytes kept of what others published; the oldest go first"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Thermal:
    """Temperatures of the hottest sensor of the processor."""

    pause_above_celsius: float = number(20, 120, about="learning stops above this temperature")
    resume_below_celsius: float = number(0, 119, about="and goes on below this one, which is lower")


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Pressure stall information: "some avg10" of /proc/pressure/memory."""

    pause_above_percent: float = number(
        1, 100, about="learning stops when programs wait for memory more of the time than this"
    )
    resume_below_percent: float = number(0.1, 99, about="and goes on below this share")


@dataclass(frozen=True, slots=True, kw_only=True)
class Battery:
    """Charge of the battery; without one, or on mains power, nothing pauses."""

    pause_below_percent: float = number(
        0, 99, about="on battery, learning stops below this charge; 0: never"
    )
    resume_above_percent: float = number(1, 100, about="and goes on above this one, or on mains")


@dataclass(frozen=True, slots=True, kw_only=True)
class Duty:
    """When the device may learn."""

    hours: tuple[str, ...] = texts(
        8, 11, _check_hours, about='local hours of learning, as in ["22:00-06:00"]; []: always'
    )
    mains_only: bool = flag(about="learn on mains power only")
    idle_only: bool = flag(about="learn only while the device has nothing else to do")
    idle_load_max: float = number(
        0.01, 64, about="highest load average of one minute per core that counts as idle"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """What the systemd unit of the service may do beyond the least."""

    devices: tuple[str, ...] = texts(
        16, 128, _check_device, about='device files that it may open, as in ["/dev/vcio"]'
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """CPU milliseconds on one core of the device."""

    train_step_ms: float = number(
        0.001, 60_000, about="one SGD step of the 4 810-parameter MLP on a batch of 16"
    )
    merge_ms_per_million_values: float = number(
        0.001,
        3_600_000,
        about="the default merge of 9 inputs whose votes differ, per 10^6 parameters",
    )
    verify_ms: float = number(
        0.001, 10_000, about="checking the signature of one entry of about 1 kB"
    )
    seal_ms: float = number(0.001, 10_000, about="encrypting and signing one entry of about 1 kB")


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """The network as one device sees it."""

    latency_ms: float = number(0, 60_000, about="one-way delay to a peer")
    bandwidth_kbit_s: float = number(1, 10_000_000, about="rate of the slower direction")


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One device class. `figures` says whether `speed` was measured on the device."""

    name: str = text(64)
    title: str = text(80, about="one line for people")
    base: str | None = text(
        256,
        default=None,
        about="where missing keys come from: a name, or a path relative to this file",
    )
    figures: str = text(8, "estimate", "measured", about="whether speed was measured on the device")
    threads: int = whole(1, 64, about="cores that the service may use, and threads of own learners")
    memory_mb_max: int = whole(64, 1_048_576, about="megabytes of memory that the agent may use")
    batch_max: int = whole(1, 65_536, about="largest training batch")
    local_steps_max: int = whole(1, 10_000, about="most SGD steps in a round")
    view_size: int = whole(1, 64, about="most peers to follow")
    round_interval_s: float = number(
        0.1, 86_400, about="seconds from the start of a round to the next"
    )
    announce_interval_s: float = number(
        0.1, 3600, about="seconds between announcements of the newest entries"
    )
    budget: Budget = field(metadata=table(Budget))
    thermal: Thermal = field(metadata=table(Thermal))
    memory: Memory = field(metadata=table(Memory))
    battery: Battery = field(metadata=table(Battery))
    duty: Duty = field(metadata=table(Duty))
    unit: Unit = field(metadata=table(Unit))
    speed: Speed = field(metadata=table(Speed))
    link: Link = field(metadata=table(Link))


def disagreements(profile: Profile) -> Iterator[tuple[str, str, str, str]]:
    """What is wrong between two keys: their table, the wrong key, the other one, a line about it.

    Of two thresholds that are too close the one to resume at is called wrong.
    """
    for table_name, low, high, wrong in (
        ("thermal", "resume_below_celsius", "pause_above_celsius", "resume_below_celsius"),
        ("memory", "resume_below_percent", "pause_above_percent", "resume_below_percent"),
        ("battery", "pause_below_percent", "resume_above_percent", "resume_above_percent"),
    ):
        values = getattr(profile, table_name)
        if getattr(values, low) >= getattr(values, high):
            other, word = (high, "below") if wrong == low else (low, "above")
            limit, value = getattr(values, other), getattr(values, wrong)
            yield table_name, wrong, other, f"must be {word} {other}, {limit:g}, not {value:g}"
