"""Device profiles: what a class of devices can do, and the settings that suit it.

A profile is a TOML file; docs/profiles.md describes it. Built-in ones lie in the data package
`gossamer_profiles`. A profile names another one as its `base` and says only what differs. What a
running agent does about budgets, heat and hours is not here, but in `gossamer_agent.pauses`.
"""

from gossamer_agent.profile.hours import in_hours, minutes_of
from gossamer_agent.profile.loading import list_profiles, load_profile
from gossamer_agent.profile.schema import (
    Battery,
    Budget,
    Duty,
    Link,
    Memory,
    Profile,
    Speed,
    Thermal,
    Unit,
)

__all__ = [
    "Battery",
    "Budget",
    "Duty",
    "Link",
    "Memory",
    "Profile",
    "Speed",
    "Thermal",
    "Unit",
    "in_hours",
    "list_profiles",
    "load_profile",
    "minutes_of",
]
