"""Thirty days with nights, outages, heat and budgets, and the same swarm that never rests.

The always-on swarm gets the same thirty days, so it makes more than twice as many rounds. The
longer one, with a round every half hour, is `make nights`.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean
from typing import Any

import pytest

pytestmark = pytest.mark.slow

DAYS = "--peers 8 --model softmax --interval 240 --rounds 180 --seed 1"
NIGHTS = "--hours 22:00-08:00|06:00-20:00| --outages 0.1 --heat 0.25"


def lately(result: dict[str, Any]) -> float:
    return fmean(result["accuracy"]["per_round"][-8:])


def test_thirty_days_of_nights_and_outages_cost_less_than_two_points(
    simulated: Callable[[str], Any],
) -> None:
    always, nights = simulated(DAYS), simulated(f"{DAYS} {NIGHTS}")
    assert always["rested"] == {}
    assert set(nights["rested"]) == {"hours", "heat", "outage"}
    assert 0.3 < nights["rested"]["hours"] < 0.6
    assert nights["gate"]["merges"] < 0.6 * always["gate"]["merges"]
    assert lately(nights) > lately(always) - 0.02
    assert nights["accuracy"]["min"] > always["accuracy"]["min"] - 0.03
    assert nights["quarantine"]["honest_rate"] == 0
    assert nights["ledger"]["verified"]
    # Who comes back catches up by keyframes, not by all that was missed.
    rounds = nights["gate"]["merges"]
    per_round = nights["bytes"]["total"] / rounds
    assert per_round < 1.5 * always["bytes"]["total"] / always["gate"]["merges"]


def test_a_byte_budget_binds_in_virtual_time(simulated: Callable[[str], Any]) -> None:
    days = "--peers 5 --model synthetic --interval 60 --rounds 96 --view 4"
    free = simulated(days)
    mb = free["bytes"]["total"] / 5 / 4 * 2 / 1e6  # a day of one peer, both directions
    bound = simulated(f"{days} --budgets {mb / 2:.3f}")
    assert 0.2 < bound["rested"]["network"] < 0.6
    # Four days, and the full bucket that it began with.
    assert bound["bytes"]["total"] / 5 * 2 / 1e6 < 1.1 * (4 + 1) * mb / 2
    assert bound["bytes"]["total"] < 0.7 * free["bytes"]["total"]
