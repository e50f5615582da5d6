"""Builds the peers of a scenario: keys, data, device, core; honest ones and attackers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gossamer_agent.data import split_holdout
from gossamer_agent.events import Event
from gossamer_agent.learner import Learner, Samples
from gossamer_agent.learning import Computation, LocalLearning
from gossamer_agent.profile import Profile
from gossamer_agent.round import AgentCore, Swarm
from gossamer_agent.store.memory import MemoryStore
from gossamer_agent.training.own import for_device, own_learner
from gossamer_agent.usefulness import Sticky
from gossamer_crypto.epoch import FixedEpoch
from gossamer_crypto.errors import GossamerError
from gossamer_crypto.feed import FeedWriter
from gossamer_crypto.genesis import Genesis
from gossamer_crypto.identity import Identity, PeerId
from gossamer_simulator.attackers.cabal import Cabal
from gossamer_simulator.attackers.cores import Core
from gossamer_simulator.attackers.false_learning import Trigger
from gossamer_simulator.attackers.plans import (
    Plan,
    Siege,
    inviters_of,
    plans_of,
    siege_of,
    victim_of,
)
from gossamer_simulator.attackers.recruits import Plot, Recruit, Taint
from gossamer_simulator.attackers.whitewash import Whitewasher
from gossamer_simulator.churn import absences
from gossamer_simulator.profile_mix import profile_of
from gossamer_simulator.resting import Resting, outages
from gossamer_simulator.scenario import Scenario
from gossamer_transport.limits import Limits
from gossamer_transport.view import no_inviter

SWARM_NAME = "simulation"


@dataclass(slots=True, kw_only=True)
class SimulatedPeer:
    """One device. attack: None for an honest one; row: its number among the honest ones.

    learning: what an honest device would compute; taint: what an attacker computes instead.
    siege: who it can reach at first, where somebody keeps the others from it.
    failure: why its agent ended before the swarm did; None while it runs. resting: what makes it
    pause, if anything does.
    """

    name: str
    core: Core
    attack: str | None
    row: int | None
    learning: LocalLearning
    profile: Profile
    absences: list[tuple[int, int]]
    store: MemoryStore
    taint: Taint | None = None
    siege: Siege | None = None
    failure: GossamerError | None = None
    resting: Resting | None = None

    def compute(self, asked: Computation, round_: int) -> Event:
        """What its agent asked for, in this round of the swarm."""
        if self.taint is not None:
            return self.taint.compute(asked, round_)
        return self.learning.compute(asked)

    @property
    def agent(self) -> AgentCore | None:
        return self.core if isinstance(self.core, AgentCore) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedSwarm:
    """trigger: of the backdoor, if that is the attack; victim: the number of the one honest peer
    that the attackers are after, None if they are after all.
    """

    swarm: Swarm
    genesis: bytes
    epoch_secret: bytes
    peers: list[SimulatedPeer]
    cabal: Cabal
    trigger: Trigger | None = None
    victim: int | None = None


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """An independent stream of chance for each use, whatever the others draw."""
    words = [word if isinstance(word, int) else int.from_bytes(word.encode()) for word in names]
    return np.random.default_rng([seed, *words])


def build_swarm(scenario: Scenario, learner: Learner, slices: list[Samples]) -> SimulatedSwarm:
    """The peers of a scenario, one for each slice of training data. All chance is from the seed.

    After them come the spare identities of attackers that have some.
    """
    chance = stream(scenario.seed, "swarm")
    identities = [Identity.from_seed(chance.bytes(32)) for _ in slices]
    epoch_secret = chance.bytes(32)
    learner = own_learner(
        learner,
        scenario.model,
        scenario.policy,
        personal_steps=scenario.personal_steps,
        ditto=scenario.ditto,
    )
    initial = learner.init()
    genesis = Genesis(
        name=SWARM_NAME,
        stewards=(identities[0].peer_id,),
        contract=learner.contract.digest(),
        model_sha256=learner.model_sha256,
        policy=scenario.policy.pack(),
        nonce=chance.bytes(32),
    )
    plans = plans_of(scenario, chance)
    owners = [i for i, plan in enumerate(plans) if plan is not None and plan.has_spare_identity]
    spare_keys = stream(scenario.seed, "spares")
    identities += [Identity.from_seed(spare_keys.bytes(32)) for _ in owners]
    ids = [identity.peer_id for identity in identities]
    inviters = inviters_of(plans, ids, owners)
    swarm = Swarm(
        swarm_id=genesis.swarm_id,
        contract=learner.contract,
        policy=scenario.policy,
        initial=initial,
        epochs=FixedEpoch(epoch_secret),
        members=frozenset(ids),
        limits=Limits.for_model(learner.contract.parameters),
        inviter_of=inviters.get if inviters else no_inviter,
    )
    plot = _plot(scenario, swarm, plans, ids, slices)
    builder = _Builder(scenario, learner, plot)
    peers = [
        builder.peer(index, identities[index], plans, samples)
        for index, samples in enumerate(slices)
    ]
    for identity, owner in zip(identities[len(slices) :], owners, strict=True):
        plan = plans[owner]
        assert plan is not None, "owners are attackers"
        peers.append(builder.spare(len(peers), identity, plan, peers[owner]))
    victim = ids.index(plot.victim)
    chance = stream(scenario.seed, "siege")
    peers[victim].siege = siege_of(scenario, plans, ids[: len(slices)], victim, chance)
    attackers = [plan for plan in plans if plan is not None]
    return SimulatedSwarm(
        swarm=swarm,
        genesis=genesis.pack(),
        epoch_secret=epoch_secret,
        peers=peers,
        cabal=plot.cabal,
        trigger=plot.trigger if any(plan.plants_a_trigger for plan in attackers) else None,
        victim=victim if any(plan.is_after_one_peer for plan in attackers) else None,
    )


def _plot(
    scenario: Scenario,
    swarm: Swarm,
    plans: Sequence[Plan | None],
    ids: Sequence[PeerId],
    slices: Sequence[Samples],
) -> Plot:
    honest = [index for index, plan in enumerate(plans) if plan is None]
    victim = victim_of(plans, stream(scenario.seed, "victim"))
    return Plot(
        swarm=swarm,
        cabal=Cabal(
            swarm.initial,
            len(honest),
            rows={ids[index]: row for row, index in enumerate(honest)},
            attackers=max(1, len(plans) - len(honest)),
        ),
        trigger=Trigger.of(slices),
        victim=ids[victim],
        victim_row=honest.index(victim),
    )


@dataclass(frozen=True, slots=True)
class _Builder:
    scenario: Scenario
    learner: Learner
    plot: Plot

    def peer(
        self, index: int, identity: Identity, plans: Sequence[Plan | None], samples: Samples
    ) -> SimulatedPeer:
        plan = plans[index]
        chance = stream(self.scenario.seed, "peer", index)
        training, holdout = split_holdout(samples, chance)
        learning = self._learning(training, holdout, index)
        taint: Taint | None = None
        if plan is None:
            core: Core = self._agent(identity, chance)
        else:
            recruit = self._recruit(plan, identity, chance)
            core, taint = recruit.core(), recruit.taint(learning)
            if plan.has_spare_identity:
                core = Whitewasher(core, None, plan.lies, plan.attack.rounds)
        off = self._outages(index)
        return SimulatedPeer(
            name=_name(index),
            core=core,
            attack=None if plan is None else plan.attack.text,
            row=plans[:index].count(None) if plan is None else None,
            learning=learning,
            taint=taint,
            profile=profile_of(self.scenario.profile, index),
            absences=[
                *absences(chance, self.scenario.churn, self.scenario.rounds),
                *off,
            ],
            store=MemoryStore(),
            resting=self._resting(index, off) if plan is None else None,
        )

    def _outages(self, index: int) -> list[tuple[int, int]]:
        scenario = self.scenario
        chance = stream(scenario.seed, "outages", index)
        return outages(chance, scenario.outages, scenario.rounds, scenario.interval)

    def _resting(self, index: int, off: list[tuple[int, int]]) -> Resting | None:
        if not self.scenario.rests:
            return None
        profile = profile_of(self.scenario.profile, index)
        return Resting(self.scenario, profile, index, sum(end - first for first, end in off))

    def spare(
        self, index: int, identity: Identity, plan: Plan, owner: SimulatedPeer
    ) -> SimulatedPeer:
        """Another identity on the device of an attacker: its data, its absences."""
        chance = stream(self.scenario.seed, "peer", index)
        learning = self._learning(owner.learning.training, owner.learning.holdout, index)
        recruit = self._recruit(plan, identity, chance)
        assert isinstance(owner.core, Whitewasher), "others have no spare identities"
        return SimulatedPeer(
            name=_name(index),
            core=Whitewasher(recruit.core(), owner.core, plan.lies, None),
            attack=owner.attack,
            row=None,
            learning=learning,
            taint=recruit.taint(learning),
            profile=owner.profile,
            absences=owner.absences,
            store=MemoryStore(),
        )

    def _learning(self, training: Samples, holdout: Samples, index: int) -> LocalLearning:
        return LocalLearning(
            learner=for_device(self.learner),
            training=training,
            holdout=holdout,
            settings=self.scenario.training_of(index),
            rng=stream(self.scenario.seed, "learning", index),
            options=self.scenario.options,
        )

    def _agent(self, identity: Identity, chance: np.random.Generator) -> AgentCore:
        swarm = self.plot.swarm
        feed = FeedWriter(identity, swarm.swarm_id, swarm.epochs, chance.bytes)
        return AgentCore(
            peer_id=identity.peer_id,
            swarm=swarm,
            feed=feed,
            rng=chance,
            sticky=Sticky(self.scenario.follow),
        )

    def _recruit(self, plan: Plan, identity: Identity, chance: np.random.Generator) -> Recruit:
        return Recruit(
            plot=self.plot,
            attack=plan.attack,
            lies=plan.lies,
            number=plan.number,
            identity=identity,
            rng=chance,
        )


def _name(index: int) -> str:
    return f"peer-{index:02d}"
