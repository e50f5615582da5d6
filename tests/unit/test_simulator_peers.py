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
from gossamer_simulator.attackers.bombs import NonFiniteBomber, ScaleBomber
from gossamer_simulator.attackers.cores import Forger, Framer, Replayer, VectorAttacker
from gossamer_simulator.attackers.equivocator import Equivocator
from gossamer_simulator.attackers.false_learning import BackdoorLearning, FalseLearning, FreeRiding
from gossamer_simulator.attackers.schedule import Scheduled
from gossamer_simulator.attackers.table import PARAMETERS
from gossamer_simulator.attackers.turncoat import Turncoat
from gossamer_simulator.attackers.whitewash import Whitewasher
from gossamer_simulator.peers import SimulatedSwarm, build_swarm, stream
from gossamer_simulator.profile_mix import MIXED_PROFILES
from gossamer_simulator.scenario import Scenario
from gossamer_transport.view import branches_of

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
        ("stale", VectorAttacker),
        ("sybil", VectorAttacker),
        ("scale-bomb", ScaleBomber),
        ("framing", Framer),
        ("equivocation", Equivocator),
        ("label-flipping", AgentCore),
        ("backdoor", AgentCore),
        ("free-rider", AgentCore),
        ("eclipse", VectorAttacker),
        ("eclipse:nan", NonFiniteBomber),
        ("sleeper", Turncoat),
        ("on-off:replay", Turncoat),
        ("on-off:backdoor", AgentCore),
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
        assert np.array_equal(peer.learning.training.y, true.learning.training.y)
        if peer.attack is None:
            assert peer.taint is None
            continue
        assert isinstance(peer.taint, FalseLearning)
        assert np.array_equal(peer.taint.training.y, 1 - true.learning.training.y)
        assert np.array_equal(peer.taint.training.x, true.learning.training.x)


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


# Attackers of several kinds ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attack", "taint"),
    [
        ("backdoor", BackdoorLearning),
        ("free-rider", FreeRiding),
        ("sleeper:label-flipping", FalseLearning),
    ],
)
def test_false_learners_are_agents_with_a_taint(attack: str, taint: type) -> None:
    for peer in swarm(byzantine=0.2, attack=attack).peers:
        assert type(peer.taint) is (taint if peer.attack else type(None))


def test_scheduled_attackers_join_those_that_always_attack() -> None:
    windows = (Scheduled(name="alie:2", peers=2, from_round=3), Scheduled(name="nan", share=0.1))
    simulated = swarm(byzantine=0.2, attack="forge", schedule=windows)
    assert Counter(attacks(simulated)) == {None: 5, "forge": 2, "alie:2": 2, "nan": 1}
    kinds = {peer.attack: type(peer.core) for peer in simulated.peers}
    assert kinds["alie:2"] is Turncoat  # honest before round 3
    assert kinds["nan"] is NonFiniteBomber  # from the first round to the last


def test_without_sybils_and_spares_nobody_invited_anybody() -> None:
    simulated = swarm(byzantine=0.3)
    assert {simulated.swarm.inviter_of(peer) for peer in simulated.swarm.members} == {None}


def test_sybils_are_one_branch_below_a_member_that_the_steward_invited() -> None:
    simulated = swarm(peers=20, byzantine=0.5, attack="sybil")
    ids = {peer.core.peer_id: peer for peer in simulated.peers}
    steward = simulated.peers[0].core.peer_id
    branches = branches_of(sorted(ids), simulated.swarm.inviter_of)
    assert simulated.swarm.inviter_of(steward) is None
    of_sybils = {branches[peer.core.peer_id] for peer in simulated.peers if peer.attack}
    assert len(of_sybils) == 1
    honest = [branches[peer.core.peer_id] for peer in simulated.peers if not peer.attack]
    assert len(set(honest)) == len(honest) == 10
    assert not of_sybils & set(honest)


def test_a_whitewasher_has_a_second_name_that_the_first_one_invited() -> None:
    simulated = swarm(byzantine=0.3, attack="whitewash:4:alie")
    assert len(simulated.peers) == 13
    assert [peer.name for peer in simulated.peers[10:]] == ["peer-10", "peer-11", "peer-12"]
    assert attacks(simulated).count("whitewash:4:alie") == 6
    first = {peer.core.peer_id for peer in simulated.peers[:10] if peer.attack}
    for spare in simulated.peers[10:]:
        assert isinstance(spare.core, Whitewasher)
        assert spare.core.peer_id in simulated.swarm.members
        assert simulated.swarm.inviter_of(spare.core.peer_id) in first
        assert spare.row is None


def test_an_eclipsed_peer_sees_mostly_attackers_at_first() -> None:
    simulated = swarm(peers=20, byzantine=0.4, attack="eclipse:7", rounds=30)
    (besieged,) = [peer for peer in simulated.peers if peer.siege is not None]
    assert simulated.victim == simulated.peers.index(besieged)
    assert besieged.attack is None
    assert besieged.name != "peer-00"
    assert besieged.siege is not None
    assert besieged.siege.rounds == 7
    liars = {peer.core.peer_id for peer in simulated.peers if peer.attack}
    assert liars < set(besieged.siege.reachable)
    assert len(besieged.siege.reachable) == len(liars) + 2 + 1  # two others and itself


@pytest.mark.parametrize("attack", ["sign-flipping", "backdoor", "framing", "eclipse"])
def test_only_some_attacks_have_a_victim_or_a_trigger(attack: str) -> None:
    simulated = swarm(byzantine=0.3, attack=attack)
    assert (simulated.victim is not None) == (attack in ("framing", "eclipse"))
    assert (simulated.trigger is not None) == (attack == "backdoor")


@pytest.mark.parametrize("attack", PARAMETERS)
def test_every_attack_can_be_scheduled(attack: str) -> None:
    window = Scheduled(name=attack, peers=3, from_round=2, to_round=3)
    assert attacks(swarm(schedule=(window,))).count(attack) == 3
