"""Attacks that are stories rather than vectors, played by the simulator from start to end.

`docs/robustness.md` has what each attack costs; here is what must never happen, whatever it costs.
"""

from __future__ import annotations

from collections.abc import Iterable
from statistics import fmean
from typing import Any

import pytest

from gossamer_agent.reputation import PENALTY_ROUNDS
from gossamer_simulator.attackers.schedule import Scheduled
from gossamer_simulator.scenario import Scenario
from gossamer_simulator.simulation import prepare, result_of, run
from gossamer_simulator.vote_shares import sybil_shares

pytestmark = pytest.mark.slow

ROUNDS = 20


def simulated(**settings: Any) -> dict[str, Any]:
    """The result of a swarm of 16 with the small model."""
    usual: dict[str, Any] = {"peers": 16, "rounds": ROUNDS, "model": "synthetic", "view": 6}
    scenario = Scenario(**usual | settings)
    setup = prepare(scenario)
    return result_of(scenario, setup, run(scenario, setup, lambda *_: None))


def outcome(seed: int, attack: str, first_round: int, **more: Any) -> dict[str, Any]:
    """A quarter of the peers are attackers from `first_round` on."""
    window = Scheduled(name=attack, share=0.25, from_round=first_round)
    return simulated(seed=seed, schedule=(window,), **more)


def mean_score(results: Iterable[dict[str, Any]]) -> float:
    return fmean(result["victim"]["score"] for result in results)


@pytest.mark.parametrize("attack", ["framing", "framing:0.1"])
def test_framing_moves_the_standing_of_its_victim_by_nothing(attack: str) -> None:
    """Against the same swarm, in which the framers only begin when all is over.

    What the victim itself thinks of others when its view is full of its mirror images is another
    matter: see the threat model.
    """
    seeds = range(5)
    framed = [outcome(seed, attack, 1) for seed in seeds]
    spared = [outcome(seed, attack, ROUNDS + 1) for seed in seeds]
    for one, other in zip(framed, spared, strict=True):
        assert one["victim"]["name"] == other["victim"]["name"]
        assert one["victim"]["quarantined"] == other["victim"]["quarantined"] == 0
        # Those who frame aloud pay for it; in the other swarm nobody does.
        assert one["refused"]["bad-signature"] > 0
        assert one["refused"]["replayed"] > 0
        assert one["quarantine"]["byzantine_rate"] > other["quarantine"]["byzantine_rate"] == 0
    # The scores of two different runs differ by chance, not by more.
    assert mean_score(framed) == pytest.approx(mean_score(spared), abs=0.03)


@pytest.mark.parametrize("attack", ["nan", "scale-bomb", "forge", "replay"])
@pytest.mark.parametrize("codec", ["sign1", "int8", "float32"])
def test_gross_offenders_are_out_and_nobody_else(attack: str, codec: str) -> None:
    # As long as the first quarantine lasts: who is released must be met again to be shut out.
    result = simulated(byzantine=0.25, attack=attack, codec=codec, seed=2, rounds=PENALTY_ROUNDS)
    assert result["quarantine"]["byzantine_rate"] >= 0.9
    assert result["quarantine"]["honest_rate"] == 0
    assert result["ledger"]["verified"]
    assert result["accuracy"]["min"] > 0.9


@pytest.mark.parametrize("seed", range(20))
def test_forty_sybils_of_one_inviter_have_at_most_a_third_of_every_merge(seed: int) -> None:
    """Ten honest peers. `scripts/sybil_campaign.py` does the same for 200 seeds."""
    shares = sybil_shares(seed)
    assert len(shares) >= 100
    beyond = [share for share in shares if not share.is_bounded]
    assert beyond == []
