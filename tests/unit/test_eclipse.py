"""Eclipse and Sybil attacks on a view (threat model: one inviter, many identities)."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from gossamer_crypto.identity import PeerId
from gossamer_transport.view import View, branch_quota

SIZE = 8
STEWARD, *HONEST = [PeerId(bytes([1, number]) * 16) for number in range(20)]
OWN = HONEST.pop()
MALICIOUS, *SYBILS = ATTACKERS = [PeerId(bytes([2, number]) * 16) for number in range(80)]
EVERYBODY = [STEWARD, *HONEST, OWN, *ATTACKERS]
FLAT = dict.fromkeys([*HONEST, OWN, MALICIOUS], STEWARD) | dict.fromkeys(SYBILS, MALICIOUS)
CHAIN = FLAT | {lower: upper for upper, lower in pairwise(ATTACKERS)}
RENEWALS = 12


def links(view: View) -> tuple[int, int]:
    """How many honest ones are followed, and how many attackers."""
    bad = sum(peer in ATTACKERS for peer in view.following)
    return len(view.following) - bad, bad


def flattering(peer: PeerId) -> float:
    """The attackers behave so well for now that each of them is above all honest ones."""
    return float(peer in ATTACKERS)


def besieged(seed: int, inviters: dict[PeerId, PeerId], renewals: int) -> View:
    """After renewals for which the attackers hide most honest ones and offer all of theirs."""
    chance = np.random.default_rng([seed, 1])
    view = View(
        OWN,
        SIZE,
        np.random.default_rng([seed, 0]),
        inviter_of=inviters.get,
        score_of=flattering,
    )
    view.fill(EVERYBODY)
    for _ in range(renewals):
        seen = [peer for peer in (STEWARD, *HONEST) if chance.random() < 0.1]
        offered = ATTACKERS * 2 + seen
        view.turn_over(offered)
        if chance.random() < 0.3:  # somebody falls silent, or is made to
            victim = view.following[int(chance.integers(len(view.following)))]
            view.drop(victim, offered)
    return view


@pytest.mark.slow
def test_eighty_identities_of_one_inviter_do_not_eclipse_a_member() -> None:
    for seed in range(1000):
        view = View(OWN, SIZE, np.random.default_rng(seed), inviter_of=FLAT.get)
        view.fill(EVERYBODY)
        honest, bad = links(view)
        assert bad <= branch_quota(SIZE) == 3
        assert honest == SIZE - bad >= 5, "nobody honest is kept out by the quota"


@pytest.mark.slow
@pytest.mark.parametrize("inviters", [FLAT, CHAIN], ids=["all invited by one", "each by the last"])
def test_a_siege_leaves_honest_links(inviters: dict[PeerId, PeerId]) -> None:
    """Honest ones hidden, links cut, attackers in good repute, over a dozen renewals."""
    views = [besieged(seed, inviters, RENEWALS) for seed in range(200)]
    assert all(links(view)[1] <= branch_quota(SIZE) for view in views)
    assert sum(links(view)[0] >= 1 for view in views) >= 0.99 * len(views)


@pytest.mark.slow
def test_it_is_the_quota_that_does_it() -> None:
    """Control: as many identities that a steward let in take the share of their number."""
    alone = 0
    for seed in range(400):
        view = View(OWN, SIZE, np.random.default_rng(seed))
        view.fill(EVERYBODY)
        alone += links(view)[0] == 0
    assert 0.1 < alone / 400 < 0.25, "eight draws of 80 among 99: .17"


def test_forty_sybils_beside_ten_honest_ones_have_a_third() -> None:
    few = [STEWARD, *HONEST[:9], *SYBILS[:40]]
    for seed in range(50):
        view = View(OWN, SIZE, np.random.default_rng(seed), inviter_of=FLAT.get)
        view.fill(few)
        for _ in range(4):
            view.turn_over(few)
            assert links(view)[1] <= branch_quota(SIZE)
        assert len(view.following) == SIZE


def test_when_all_others_are_hidden_slots_stay_free() -> None:
    view = View(OWN, SIZE, np.random.default_rng(0), inviter_of=FLAT.get)
    view.fill(ATTACKERS)
    assert links(view) == (0, 3)
    view.fill(HONEST)
    assert links(view) == (5, 3), "room for them as soon as they are seen"
