"""What the network does to a frame: delay, loss, duplication, reordering. Integers and uniform
draws only, so that a seed gives the same deliveries on every machine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gossamer_agent.profile import Link
from gossamer_simulator.clock import SECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """The network between the devices. latency_ms: one way, without the devices' own links.

    The delay of a frame is uniform in half to one and a half times the whole latency, so frames
    that follow each other closely overtake one another.
    """

    latency_ms: float
    loss: float
    duplicate: float

    def deliveries(
        self, rng: np.random.Generator, now: int, size: int, ends: tuple[Link, Link]
    ) -> list[int]:
        """Arrival times (ns) of the copies of a frame of `size` bytes sent at `now` (ns).

        ends: the links of sender and receiver; the slower one sets the rate.
        """
        if rng.random() < self.loss:
            return []
        copies = 2 if rng.random() < self.duplicate else 1
        latency_ns = round((self.latency_ms + sum(end.latency_ms for end in ends)) * 1e6)
        bits_per_s = round(min(end.bandwidth_kbit_s for end in ends) * 1000)
        on_the_line = size * 8 * SECOND // bits_per_s
        return [now + on_the_line + _spread(rng, latency_ns) for _ in range(copies)]


def _spread(rng: np.random.Generator, latency_ns: int) -> int:
    half = latency_ns // 2
    return half + int(rng.integers(0, 2 * half + 1))
