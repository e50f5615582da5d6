"""The conformance suite of `network.Network`, on real hosts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import SimpleNamespace

import pytest
import trio

from gossamer_transport.limits import Limits
from gossamer_transport.testing import NetworkConformance

LIMITS = Limits(
    frame_bytes_max=200_000,  # above what goes inline, so that the largest one is pulled
    receive_frames_max=8,
    receive_bytes_max=8 * 200_000,
)


@pytest.mark.slow
class TestLibp2p(NetworkConformance):
    frame_bytes_max = LIMITS.frame_bytes_max
    queue_frames_max = LIMITS.receive_frames_max
    settle_s = 0.5

    @pytest.fixture(autouse=True)
    def _helpers(self, loopback: SimpleNamespace) -> None:
        self.loopback = loopback

    def networks(self, count: int):  # type: ignore[no-untyped-def]
        return self.loopback.linked(count, LIMITS)

    def run(self, scenario: Callable[[], Awaitable[None]]) -> None:
        trio.run(scenario)
