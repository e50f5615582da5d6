from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from gossamer_agent.errors import ConfigError
from gossamer_agent.learner import Samples
from gossamer_agent.policy import Policy
from gossamer_agent.round import AgentCore
from gossamer_agent.synthetic import SyntheticLearner, make_samples
from gossamer_crypto.genesis import Genesis
from gossamer_simulator.attackers.cores import Forger, NonFiniteBomber, Replayer, VectorAttacker
from gossamer_simulator.peers import MIXED_PROFILES, SimulatedSwarm, build_swarm, stream
from gossamer_simulator.scenario import Scenario

LEARNER = SyntheticLearner(16)


def slices(peers: int, rows: int = 20) -> list[Samples]:
    chance = np.random.default_rng(0)
    return [make_samples(16, rows, chance) for _ in range(peers)]


def swarm(rows: int = 20, **settings: Any) -> SimulatedSwarm:
    scenario = Scenario(model="synthetic", **{"peers": 10} | settings)
    return build_swarm(scenario, LEARNER, slices(scenario.peers, rows))


def attacks(simulated: SimulatedSwarm) -> list[str | None]:
    return [peer.attack for peer in simulated.peers]


def test_a_stream_depends_on_seed_and_names_alone() -> None:
    def draw(*names: Any) -> int:
        return int(stream(*names).integers(2**62))

    names = [(0, "peer", 1), (0, "peer", 2), (0, "link", 1), (1, "peer", 1), (0, "peers"), (2**40,)]
    assert len({draw(*name) for name in names}) == len(names)
    assert [draw(*name) for name in names] == [draw(*name) for name in names]


def test_a_swarm_has_the_peers_of_its_scenario() -> None:
    simulated = swarm(byzantine=0.4, attack="mix")
    assert [peer.name for peer in simulated.peers[:2]] == ["peer-00", "peer-01"]
    assert attacks(simulated).count(None) == 6
    honest = [peer.row for peer in simulated.peers if peer.attack is None]
    assert honest == list(range(6))
    assert all(peer.row is None for peer in simulated.peers if peer.attack)
    ids = {peer.core.peer_id for peer in simulated.peers}
    assert len(ids) == 10
    assert simulated.swarm.members == ids


@pytest.mark.parametrize("seed", range(8))
def test_the_first_peer_is_honest_whatever_the_seed(seed: int) -> None:
    assert attacks(swarm(peers=4, byzantine=0.7, attack="nan", seed=seed)) == [None] + ["nan"] * 3


def test_attackers_are_spread_by_chance() -> None:
    assert len({tuple(attacks(swarm(byzantine=0.3, seed=seed))) for seed in range(6)}) > 3


@pytest.mark.parametrize(
    ("attack", "core"),
    [
        ("alie", VectorAttacker),
        ("nan", NonFiniteBomber),
        ("forge", Forger),
        ("replay", Replayer),
        ("label-flipping", AgentCore),
    ],
)
def test_every_attack_has_its_core(attack: str, core: type) -> None:
    liars = [peer for peer in swarm(byzantine=0.2, attack=attack).peers if peer.attack]
    assert [type(peer.core) for peer in liars] == [core, core]
    assert all(peer.attack == attack for peer in liars)


def test_label_flippers_are_agents_that_learn_from_mirrored_labels() -> None:
    honest = swarm(byzantine=0.0)
    attacked = swarm(byzantine=0.3, attack="label-flipping")
    for true, peer in zip(honest.peers, attacked.peers, strict=True):
        flipped = 1 - true.learning.training.y if peer.attack else true.learning.training.y
        assert np.array_equal(peer.learning.training.y, flipped)
        assert np.array_equal(peer.learning.training.x, true.learning.training.x)


@pytest.mark.parametrize(("rows", "held"), [(20, 2), (100, 10), (4, 1), (2, 1)])
def test_a_device_keeps_a_tenth_of_its_rows_to_judge_merges(rows: int, held: int) -> None:
    own = slices(10, rows)
    for peer, samples in zip(swarm(rows).peers, own, strict=True):
        training, holdout = peer.learning.training, peer.learning.holdout
        assert (len(training), len(holdout)) == (rows - held, held)
        both = np.concatenate([training.x, holdout.x])
        assert Counter(map(bytes, both)) == Counter(map(bytes, samples.x))


def test_the_seed_makes_keys_secrets_and_genesis() -> None:
    first, again, other = swarm(seed=1), swarm(seed=1), swarm(seed=2)
    assert first.genesis == again.genesis
    assert first.epoch_secret == again.epoch_secret
    assert first.genesis != other.genesis
    assert first.epoch_secret != other.epoch_secret
    assert not first.swarm.members & other.swarm.members


def test_the_genesis_pins_model_contract_and_policy() -> None:
    simulated = swarm(rule="median", codec="int8", view=3)
    genesis = Genesis.unpack(simulated.genesis)
    assert genesis.swarm_id == simulated.swarm.swarm_id
    assert genesis.model_sha256 == LEARNER.model_sha256
    assert genesis.contract == LEARNER.contract.digest()
    assert Policy.unpack(genesis.policy) == simulated.swarm.policy
    assert genesis.stewards == (simulated.peers[0].core.peer_id,)


def test_another_rule_meets_the_same_attackers_data_and_devices() -> None:
    first = swarm(byzantine=0.3, churn=0.3, rule="gossamer")
    second = swarm(byzantine=0.3, churn=0.3, rule="mean")
    for one, two in zip(first.peers, second.peers, strict=True):
        assert one.core.peer_id == two.core.peer_id
        assert one.attack == two.attack
        assert one.absences == two.absences
        assert np.array_equal(one.learning.training.x, two.learning.training.x)


def test_devices_are_mixed_or_all_alike() -> None:
    mixed = [peer.profile.name for peer in swarm(peers=6).peers]
    assert mixed == [*MIXED_PROFILES, *MIXED_PROFILES[:2]]
    assert {peer.profile.name for peer in swarm(profile="x86-64").peers} == {"x86-64"}
    with pytest.raises(ConfigError, match="no profile 'toaster'"):
        swarm(profile="toaster")


def test_churn_takes_peers_away() -> None:
    assert all(peer.absences == [] for peer in swarm().peers)
    assert any(peer.absences for peer in swarm(churn=0.3).peers)
