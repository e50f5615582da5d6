"""Devices that rest: nights, heat, outages, budgets. The agent's own governor in virtual time.

Theory of operation. A round of the simulation stands for `interval` minutes of the devices' lives,
which begin at midnight. At each tick of its timer an honest device takes made-up readings: the
hour, the weather, and the bytes that it really sent, received and wrote. Its `Governor` and `Pacer`
are those of a real agent, and so is what its core does then.

An outage takes a device off the network and its power with it, for hours or days.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from gossamer_agent.errors import ConfigError
from gossamer_agent.events import Event
from gossamer_agent.pauses import Governor, Pacer, Readings, effective_limits
from gossamer_agent.pauses.limits import MB
from gossamer_agent.profile import Profile, minutes_of

if TYPE_CHECKING:
    from gossamer_simulator.scenario import Scenario

OUTAGE_HOURS: Final = (2.0, 72.0)
"""The shortest and the longest outage; short ones are more frequent (uniform in the logarithm)."""
OUTAGES_MAX: Final = 0.7
ENTRY_FLASH_BYTES: Final = 16_384
"""What keeping one entry writes beside its own bytes: pages of log, index and caches."""
SHADE_CELSIUS: Final = 45.0
SUN_CELSIUS: Final = (50.0, 30.0)
"""Daily mean and amplitude of a device that stands in the sun; it is hottest at 15 o'clock."""
UNBOUND: Final = 1e15  # bytes a day
NO_BUDGETS: Final = "none"
PROFILE_BUDGETS: Final = "profile"
_ALTERNATIVES: Final = "|"


class Resting:
    """What one device measures, and what follows from it.

    network_bytes: both directions, flash_bytes: written; both are counted by whoever simulates.
    rested: ticks at which it did not learn, by kind of pause; rounds_off: without power.
    """

    def __init__(
        self, scenario: Scenario, profile: Profile, index: int, rounds_off: int = 0
    ) -> None:
        self.rounds_off = rounds_off
        self.network_bytes = 0
        self.flash_bytes = 0
        self.rested: dict[str, int] = {}
        limits = effective_limits(profile)
        network, flash = _budgets_of(scenario.budgets, profile)
        choices = _hours_of(scenario.hours)
        self._governor = Governor(
            replace(
                limits,
                network_bytes_per_day=network,
                flash_bytes_per_day=flash,
                hours=choices[index % len(choices)] or limits.hours,
            )
        )
        self._pacer = Pacer(60 * scenario.interval)
        hot = round(scenario.heat * scenario.peers)
        # Spread over the swarm, whatever else is dealt out in turn.
        self._in_the_sun = index * hot // scenario.peers != (index + 1) * hot // scenario.peers

    def tick(self, now_s: float) -> Sequence[Event]:
        """What the core is told when a round is due at `now_s` of the device's life."""
        minute = now_s / 60 % (24 * 60)
        may = self._governor.observe(
            now_s,
            Readings(
                celsius=self._celsius(minute),
                minute=minute,
                network_bytes=self.network_bytes,
                flash_bytes=self.flash_bytes,
            ),
        )
        for pause in may.reasons:
            self.rested[pause.kind] = self.rested.get(pause.kind, 0) + 1
        return self._pacer.tick(now_s, may)

    def _celsius(self, minute: float) -> float:
        if not self._in_the_sun:
            return SHADE_CELSIUS
        mean, amplitude = SUN_CELSIUS
        return mean + amplitude * math.cos(2 * math.pi * (minute / 60 - 15) / 24)


def outages(
    rng: np.random.Generator, share: float, rounds: int, interval_min: float
) -> list[tuple[int, int]]:
    """Spans of rounds [first, end) in which one device is off; about `share` of all rounds."""
    low, high = (hours * 60 / interval_min for hours in OUTAGE_HOURS)
    mean_off = (high - low) / math.log(high / low)
    spans: list[tuple[int, int]] = []
    at = 1.0  # everybody is there at the start
    while share > 0:
        at += -math.log(1.0 - rng.random()) * mean_off * (1.0 - share) / share
        if not at < rounds:  # it may be infinite
            break
        off = low * (high / low) ** rng.random()
        first, end = math.ceil(at), math.ceil(at + off)
        if first < min(end, rounds):
            spans.append((first, min(end, rounds)))
        at += off
    return spans


def check_hours(hours: str) -> None:
    """ConfigError unless `hours` are spans of the day, several by commas, and | between devices."""
    _hours_of(hours)


def check_budgets(budgets: str) -> None:
    """ConfigError unless it is none, profile, or MB a day of network and perhaps flash."""
    _parse_budgets(budgets)


def _hours_of(hours: str) -> list[tuple[str, ...]]:
    """What the devices take in turn; an empty one: always."""
    choices = []
    for choice in hours.split(_ALTERNATIVES):
        spans = tuple(span.strip() for span in choice.split(",") if span.strip())
        try:
            for span in spans:
                minutes_of(span)
        except ValueError as error:
            raise ConfigError(f"hours: {error}") from None
        choices.append(spans)
    return choices


def _budgets_of(budgets: str, profile: Profile) -> tuple[float, float]:
    """Bytes a day of network and flash."""
    if budgets == PROFILE_BUDGETS:
        return profile.budget.network_mb_per_day * MB, profile.budget.flash_mb_per_day * MB
    network_mb, flash_mb = _parse_budgets(budgets)
    return network_mb * MB, flash_mb * MB


def _parse_budgets(budgets: str) -> tuple[float, float]:
    unbound_mb = UNBOUND / MB
    if budgets in (NO_BUDGETS, PROFILE_BUDGETS):
        return unbound_mb, unbound_mb
    parts = budgets.split(":")
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2) or not all(0.001 <= value <= 1e6 for value in numbers):
        raise ConfigError(
            f"budgets {budgets!r:.40}: choose none, profile, or megabytes a day of network, or of"
            " network and flash, as in 20 or 20:50 (0.001 to 1,000,000 each)"
        )
    return numbers[0], numbers[1] if len(numbers) == 2 else unbound_mb
