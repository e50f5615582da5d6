"""Devices that rest in virtual time: what binds them, and that it is the agent's own governor."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer_agent.errors import ConfigError
from gossamer_agent.events import ExchangePaused, ExchangeResumed, RoundDue
from gossamer_agent.profile import load_profile
from gossamer_simulator.resting import OUTAGES_MAX, Resting, outages
from gossamer_simulator.scenario import Scenario

HOUR = 3600.0


def device(index: int = 0, **settings: Any) -> Resting:
    scenario = Scenario(peers=4, interval=30.0, **settings)
    scenario.check()
    return Resting(scenario, load_profile("pi-4"), index)


def learns(resting: Resting, hours: int = 24) -> list[int]:
    """The hours of the day at which a round begins, or what was missed is asked for."""
    return [hour for hour in range(hours) if resting.tick(hour * HOUR)]


def test_hours_are_dealt_out_in_turn() -> None:
    spans = "22:00-06:00|06:00-12:00,13:00-14:00|"
    assert learns(device(0, hours=spans)) == [0, 1, 2, 3, 4, 5, 22, 23]
    assert learns(device(1, hours=spans)) == [6, 7, 8, 9, 10, 11, 13]
    assert learns(device(2, hours=spans)) == list(range(24))
    assert learns(device(3, hours=spans)) == learns(device(0, hours=spans))


def test_heat_comes_in_the_afternoon_to_so_many_devices() -> None:
    devices = [device(index, heat=0.5) for index in range(4)]
    rested = [24 - len(learns(one)) for one in devices]
    assert sum(hours > 0 for hours in rested) == 2
    assert max(rested) in range(4, 12)
    hot = next(one for one in devices if one.rested)
    assert list(hot.rested) == ["heat"]
    assert hot.tick(15 * HOUR) == ()


def test_budgets_are_those_that_were_asked_for() -> None:
    spender = device(budgets="1:1000")
    assert spender.tick(0.0) == (RoundDue(),)
    spender.network_bytes = 990_000
    assert spender.tick(0.5 * HOUR) == (ExchangePaused(),)
    assert spender.tick(2 * HOUR) == ()
    assert spender.tick(4 * HOUR) == (ExchangeResumed(),)
    writer = device(budgets="1000:1")
    writer.flash_bytes = 990_000
    assert writer.tick(0.0) == ()
    assert writer.rested == {"flash": 1}
    free = device()
    free.network_bytes = free.flash_bytes = 10**12
    assert free.tick(0.0) == (RoundDue(),)


def test_the_profile_binds_if_asked_to() -> None:
    bound = device(budgets="profile")
    bound.network_bytes = round(load_profile("pi-4").budget.network_mb_per_day * 1e6)
    assert bound.tick(0.0) == (ExchangePaused(),)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"hours": "9-17"}, "hours: '9-17' is no span of hours"),
        ({"hours": "22:00-06:00|22:00-22:00"}, "is an empty span"),
        ({"budgets": "much"}, "budgets 'much': choose none, profile, or megabytes a day"),
        ({"budgets": "0"}, "0.001 to 1,000,000 each"),
        ({"budgets": "1:2:3"}, "as in 20 or 20:50"),
        ({"budgets": "nan"}, "choose none"),
        ({"outages": 0.8}, "--outages 0.8 is out of range; it must be 0 to 0.7"),
        ({"heat": 2.0}, "--heat 2 is out of range"),
        ({"interval": 0.0}, "--interval 0 is out of range; it must be 0.1 to 1440"),
    ],
)
def test_what_cannot_be_simulated_is_refused(settings: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Scenario(**settings).check()
    assert line in str(caught.value)


@given(
    seed=st.integers(0, 2**32),
    share=st.floats(0, OUTAGES_MAX),
    rounds=st.integers(1, 500),
    interval=st.sampled_from([1.0, 30.0, 240.0, 1440.0]),
)
def test_outages_are_apart_and_within_the_run(
    seed: int, share: float, rounds: int, interval: float
) -> None:
    back = 1
    for first, end in outages(np.random.default_rng(seed), share, rounds, interval):
        assert back <= first < end <= rounds
        back = end


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, OUTAGES_MAX])
def test_devices_are_off_for_the_share_asked_for(share: float) -> None:
    rounds = 1_000_000
    spans = outages(np.random.default_rng(0), share, rounds, 30.0)
    assert sum(end - first for first, end in spans) / rounds == pytest.approx(share, rel=0.2)
    hours = [(end - first) / 2 for first, end in spans[:-1]]  # the run cuts the last one
    assert min(hours) >= 1.5
    assert max(hours) <= 73


def test_without_any_of_it_nobody_rests() -> None:
    assert not Scenario(interval=30.0).rests
    assert outages(np.random.default_rng(0), 0.0, 1000, 30.0) == []
