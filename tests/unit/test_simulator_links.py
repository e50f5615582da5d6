from __future__ import annotations

import numpy as np
import pytest

from gossamer_agent.profile import Link
from gossamer_simulator.links import Links

MS = 1_000_000
LAN = Link(latency_ms=0, bandwidth_kbit_s=1_000_000)
NOW = 5_000 * MS


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def links(**settings: float) -> Links:
    return Links(**{"latency_ms": 50.0, "loss": 0.0, "duplicate": 0.0} | settings)


def arrivals(network: Links, frames: int, size: int = 0, seed: int = 0) -> list[list[int]]:
    chance = rng(seed)
    return [network.deliveries(chance, NOW, size, (LAN, LAN)) for _ in range(frames)]


def test_a_good_network_delivers_every_frame_once() -> None:
    assert all(len(copies) == 1 for copies in arrivals(links(), 1000))


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_loss_and_duplication_come_in_the_shares_asked_for(share: float) -> None:
    lost = [copies for copies in arrivals(links(loss=share), 4000) if not copies]
    assert len(lost) / 4000 == pytest.approx(share, abs=0.03)
    doubled = [copies for copies in arrivals(links(duplicate=share), 4000) if len(copies) == 2]
    assert len(doubled) / 4000 == pytest.approx(share, abs=0.03)


def test_the_delay_is_uniform_from_half_to_one_and_a_half_latencies() -> None:
    ends = (Link(latency_ms=20, bandwidth_kbit_s=1e6), Link(latency_ms=30, bandwidth_kbit_s=1e6))
    chance = rng()
    delays = [links().deliveries(chance, NOW, 0, ends)[0] - NOW for _ in range(4000)]
    assert 50 * MS <= min(delays) < 52 * MS
    assert 148 * MS < max(delays) <= 150 * MS
    assert np.mean(delays) == pytest.approx(100 * MS, rel=0.02)
    assert np.std(delays) == pytest.approx(100 * MS / 12**0.5, rel=0.03)


@pytest.mark.parametrize("sender_is_slower", [True, False])
def test_the_slower_end_sets_the_rate(sender_is_slower: bool) -> None:
    slow, fast = (Link(latency_ms=0, bandwidth_kbit_s=rate) for rate in (80, 8000))
    ends = (slow, fast) if sender_is_slower else (fast, slow)
    (at,) = links(latency_ms=0).deliveries(rng(), NOW, 1000, ends)
    assert at - NOW == 100 * MS  # 8 000 bits at 80 000 bits per second


def test_without_latency_a_small_frame_is_there_at_once() -> None:
    assert links(latency_ms=0).deliveries(rng(), NOW, 0, (LAN, LAN)) == [NOW]


def test_frames_overtake_one_another() -> None:
    chance = rng()
    sent = [NOW + number * MS for number in range(50)]
    arrived = [links().deliveries(chance, now, 100, (LAN, LAN))[0] for now in sent]
    assert arrived != sorted(arrived)


def test_a_seed_gives_the_same_deliveries_in_whole_nanoseconds() -> None:
    network = links(loss=0.2, duplicate=0.3)
    assert arrivals(network, 200, size=900) == arrivals(network, 200, size=900)
    assert arrivals(network, 200, size=900) != arrivals(network, 200, size=900, seed=1)
    assert all(type(at) is int for copies in arrivals(network, 50) for at in copies)
