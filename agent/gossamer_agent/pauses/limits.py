"""The limits that bind one device: its profile's, where its owner's config.toml says nothing."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

from gossamer_agent.errors import ConfigError
from gossamer_agent.profile import Profile

if TYPE_CHECKING:
    from gossamer_agent.device.config import Config

MB: Final = 1_000_000
THERMAL_GAP_CELSIUS: Final = 5.0
"""How far below its own pause an owner's device resumes, if only the pause was overridden."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceLimits:
    """When a device rests. Bytes are counted per day of 24 hours; percents are 0 to 100.

    hours: spans such as "22:00-06:00" of local time, () for always; idle_load_max: per core.
    """

    network_bytes_per_day: float
    flash_bytes_per_day: float
    blobs_bytes: int
    pause_above_celsius: float
    resume_below_celsius: float
    pause_above_memory_percent: float
    resume_below_memory_percent: float
    pause_below_battery_percent: float
    resume_above_battery_percent: float
    hours: tuple[str, ...] = ()
    mains_only: bool = False
    idle_only: bool = False
    idle_load_max: float = 0.5


def effective_limits(profile: Profile, config: Config | None = None) -> DeviceLimits:
    """The profile's limits, with what the owner of the device set in their place.

    Raises ConfigError where the owner's temperatures contradict each other.
    """
    budget = _over(profile.budget, None if config is None else config.budget)
    duty = _over(profile.duty, None if config is None else config.duty)
    pause, resume = _celsius(profile, config)
    return DeviceLimits(
        network_bytes_per_day=budget["network_mb_per_day"] * MB,
        flash_bytes_per_day=budget["flash_mb_per_day"] * MB,
        blobs_bytes=budget["blobs_mb"] * MB,
        pause_above_celsius=pause,
        resume_below_celsius=resume,
        pause_above_memory_percent=profile.memory.pause_above_percent,
        resume_below_memory_percent=profile.memory.resume_below_percent,
        pause_below_battery_percent=profile.battery.pause_below_percent,
        resume_above_battery_percent=profile.battery.resume_above_percent,
        hours=duty["hours"],
        mains_only=duty["mains_only"],
        idle_only=duty["idle_only"],
        idle_load_max=duty["idle_load_max"],
    )


def _over(profile: Any, config: Any) -> dict[str, Any]:
    """The values of a table of the profile, with those that are set in the owner's table."""
    own = {spec.name: getattr(config, spec.name, None) for spec in fields(profile)}
    return {name: getattr(profile, name) if value is None else value for name, value in own.items()}


def _celsius(profile: Profile, config: Config | None) -> tuple[float, float]:
    """When to pause, and when to resume, which is lower."""
    pause, resume = profile.thermal.pause_above_celsius, profile.thermal.resume_below_celsius
    if config is None:
        return pause, resume
    own = config.thermal
    if own.pause_above_celsius is not None:
        pause = own.pause_above_celsius
        resume = min(resume, pause - THERMAL_GAP_CELSIUS)
    if own.resume_below_celsius is not None:
        resume = own.resume_below_celsius
    if resume >= pause:
        raise ConfigError(
            f"config.toml: [thermal]: resume_below_celsius must be below the {pause:g} at which"
            f" learning pauses, not {resume:g}"
        )
    return pause, resume
