"""Builds the peers of a scenario: keys, data, device, core; honest ones and attackers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from gossamer_agent.data import split_holdout
from gossamer_agent.events import Effect, Event
from gossamer_agent.learner import Learner, Samples
from gossamer_agent.learning import LocalLearning
from gossamer_agent.profile import Profile, load_profile
from gossamer_agent.publisher import Publisher
from gossamer_agent.round import AgentCore, Swarm
from gossamer_agent.store.memory import MemoryStore
from gossamer_crypto.epoch import FixedEpoch
from gossamer_crypto.errors import GossamerError
from gossamer_crypto.feed import FeedWriter
from gossamer_crypto.genesis import Genesis
from gossamer_crypto.identity import Identity, PeerId
from gossamer_simulator.attackers.cabal import Cabal
from gossamer_simulator.attackers.cores import VectorAttacker
from gossamer_simulator.attackers.table import LABEL_FLIPPING, WIRE_ATTACKS, assigned
from gossamer_simulator.attackers.vectors import VECTOR_ATTACKS
from gossamer_simulator.churn import absences
from gossamer_simulator.scenario import Scenario
from gossamer_transport.limits import Limits

MIXED_PROFILES = ("pi-zero-2w", "pi-3b", "pi-4", "pi-5")
SWARM_NAME = "simulation"


class Core(Protocol):
    """What drives a peer: an agent's core or an attacker's."""

    peer_id: PeerId

    def handle(self, now: float, event: Event) -> list[Effect]: ...


@dataclass(slots=True, kw_only=True)
class SimulatedPeer:
    """One device. attack: None for an honest one; row: its number among the honest ones.

    failure: why its agent ended before the swarm did; None while it runs.
    """

    name: str
    core: Core
    attack: str | None
    row: int | None
    learning: LocalLearning
    profile: Profile
    absences: list[tuple[int, int]]
    store: MemoryStore
    failure: GossamerError | None = None

    @property
    def agent(self) -> AgentCore | None:
        return self.core if isinstance(self.core, AgentCore) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedSwarm:
    swarm: Swarm
    genesis: bytes
    epoch_secret: bytes
    peers: list[SimulatedPeer]
    cabal: Cabal


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """An independent stream of chance for each use, whatever the others draw."""
    words = [word if isinstance(word, int) else int.from_bytes(word.encode()) for word in names]
    return np.random.default_rng([seed, *words])


def build_swarm(scenario: Scenario, learner: Learner, slices: list[Samples]) -> SimulatedSwarm:
    """The peers of a scenario, one for each slice of training data. All chance is from the seed."""
    chance = stream(scenario.seed, "swarm")
    identities = [Identity.from_seed(chance.bytes(32)) for _ in slices]
    epoch_secret = chance.bytes(32)
    initial = learner.init()
    genesis = Genesis(
        name=SWARM_NAME,
        stewards=(identities[0].peer_id,),
        contract=learner.contract.digest(),
        model_sha256=learner.model_sha256,
        policy=scenario.policy.pack(),
        nonce=chance.bytes(32),
    )
    swarm = Swarm(
        swarm_id=genesis.swarm_id,
        contract=learner.contract,
        policy=scenario.policy,
        initial=initial,
        epochs=FixedEpoch(epoch_secret),
        members=frozenset(identity.peer_id for identity in identities),
        limits=Limits.for_model(learner.contract.parameters),
    )
    attacks = _attacks(scenario, chance)
    cabal = Cabal(initial, attacks.count(None))
    builder = _Builder(scenario, learner, swarm, cabal)
    peers = [
        builder.peer(index, identity, attacks, samples)
        for index, (identity, samples) in enumerate(zip(identities, slices, strict=True))
    ]
    return SimulatedSwarm(
        swarm=swarm, genesis=genesis.pack(), epoch_secret=epoch_secret, peers=peers, cabal=cabal
    )


@dataclass(frozen=True, slots=True)
class _Builder:
    scenario: Scenario
    learner: Learner
    swarm: Swarm
    cabal: Cabal

    def peer(
        self, index: int, identity: Identity, attacks: list[str | None], samples: Samples
    ) -> SimulatedPeer:
        seed, attack = self.scenario.seed, attacks[index]
        chance = stream(seed, "peer", index)
        training, holdout = split_holdout(samples, chance)
        if attack == LABEL_FLIPPING:
            classes = self.swarm.contract.classes
            training = Samples(training.x, (classes - 1 - training.y).astype(np.int32))
        return SimulatedPeer(
            name=f"peer-{index:02d}",
            core=self._core(identity, attack, chance),
            attack=attack,
            row=attacks[:index].count(None) if attack is None else None,
            learning=LocalLearning(
                learner=self.learner,
                training=training,
                holdout=holdout,
                settings=self.scenario.training,
                rng=stream(seed, "learning", index),
            ),
            profile=_profile(self.scenario.profile, index),
            absences=absences(chance, self.scenario.churn, self.scenario.rounds),
            store=MemoryStore(),
        )

    def _core(self, identity: Identity, attack: str | None, chance: np.random.Generator) -> Core:
        swarm, peer_id = self.swarm, identity.peer_id
        feed = FeedWriter(identity, swarm.swarm_id, swarm.epochs, chance.bytes)
        if attack is None or attack == LABEL_FLIPPING:
            return AgentCore(peer_id=peer_id, swarm=swarm, feed=feed, rng=chance)
        publisher = Publisher(
            feed=feed,
            initial=swarm.initial,
            codec=swarm.policy.codec,
            bound=swarm.contract.bound,
            limits=swarm.limits,
            rng=chance,
        )
        if attack in WIRE_ATTACKS:
            return WIRE_ATTACKS[attack](peer_id, publisher, swarm.limits, chance)
        lie = VECTOR_ATTACKS[attack]
        return VectorAttacker(
            peer_id,
            publisher,
            swarm.limits,
            chance,
            attack=lie,
            cabal=self.cabal,
            bound=swarm.contract.bound,
        )


def _attacks(scenario: Scenario, chance: np.random.Generator) -> list[str | None]:
    """Which peers are attackers, and of what kind. peer-00 keeps the roster and is honest."""
    attacks: list[str | None] = [None] * scenario.peers
    chosen = 1 + chance.permutation(scenario.peers - 1)[: scenario.attackers]
    for index, attack in zip(
        sorted(chosen.tolist()), assigned(scenario.attack, len(chosen)), strict=True
    ):
        attacks[index] = attack
    return attacks


def _profile(name: str, index: int) -> Profile:
    if name == "mixed":
        return load_profile(MIXED_PROFILES[index % len(MIXED_PROFILES)])
    return load_profile(name)
