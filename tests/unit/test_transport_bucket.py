from __future__ import annotations

import pytest

from gossamer_transport.libp2p.bucket import Buckets, TokenBucket


def test_a_burst_then_the_rate() -> None:
    bucket = TokenBucket(2.0, 5.0, now=100.0)
    assert [bucket.take(100.0) for _ in range(6)] == [True] * 5 + [False]
    assert bucket.wait_s(100.0) == pytest.approx(0.5)
    assert not bucket.take(100.4)
    assert bucket.take(100.5)
    assert not bucket.is_full(102.9)
    assert bucket.is_full(103.1)


def test_more_than_the_burst_never_comes() -> None:
    bucket = TokenBucket(2.0, 5.0, now=0.0)
    assert not bucket.take(1e9, 6.0)
    assert bucket.wait_s(1e9, 6.0) == float("inf")
    assert bucket.take(1e9, 5.0)


def test_a_clock_that_steps_back_gives_nothing() -> None:
    bucket = TokenBucket(1.0, 1.0, now=10.0)
    assert bucket.take(10.0)
    assert not bucket.take(5.0)
    assert not bucket.take(10.5)
    assert bucket.take(11.0)


def test_each_key_has_its_own() -> None:
    buckets: Buckets[str] = Buckets(1.0, 2.0)
    assert [buckets.take("a", 0.0) for _ in range(3)] == [True, True, False]
    assert buckets.take("b", 0.0)


def test_keys_are_bounded_and_the_full_ones_go_first() -> None:
    buckets: Buckets[int] = Buckets(1.0, 2.0, keys_max=4)
    for key in range(4):
        buckets.take(key, 0.0)
    buckets.take(0, 0.0)
    buckets.take(9, 1.5)  # all but 0 are full again
    assert len(buckets) == 2
    assert not buckets.take(0, 1.5, 2.0)


def test_a_flood_of_keys_costs_the_oldest() -> None:
    buckets: Buckets[int] = Buckets(1.0, 2.0, keys_max=4)
    for key in range(100):
        buckets.take(key, 0.0)
    assert len(buckets) == 4
