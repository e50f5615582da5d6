"""Which device profile each simulated peer has: one for all, or a mix."""

from __future__ import annotations

import re
from itertools import accumulate
from typing import Final

from gossamer_agent.errors import ConfigError
from gossamer_agent.profile import Profile, load_profile

MIXED: Final = "mixed"
MIXED_PROFILES: Final = ("pi-zero-2w", "pi-3b", "pi-4", "pi-5")
_COUNT_MAX: Final = 100_000
_PART: Final = re.compile(r"(?P<reference>[^:]+)(?::(?P<count>[0-9]{1,6}))?")


def parse_mix(text: str) -> tuple[tuple[str, int], ...]:
    """Names or paths of profiles and how many peers have each. Raises ConfigError."""
    if text == MIXED:
        return tuple((name, 1) for name in MIXED_PROFILES)
    parts = []
    for part in text.split(","):
        found = _PART.fullmatch(part.strip())
        count = int(found["count"] or 1) if found else 0
        if found is None or not 1 <= count <= _COUNT_MAX:
            raise ConfigError(
                f"profile {part.strip()!r:.80}: write one, such as pi-4, or a mix with numbers,"
                " such as pi-zero-2w:10,pi-4:5"
            )
        parts.append((found["reference"], count))
    return tuple(parts)


def profile_of(text: str, index: int) -> Profile:
    """The profile of the peer with this number, from 0; the mix begins again where it ends."""
    mix = parse_mix(text)
    ends = list(accumulate(count for _, count in mix))
    place = index % ends[-1]
    return load_profile(next(name for (name, _), end in zip(mix, ends, strict=True) if place < end))
