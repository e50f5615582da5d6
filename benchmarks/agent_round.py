"""What one round of one agent costs: `python benchmarks/agent_round.py`.

Nine agents of the default simulation (digits, the 4 810-parameter MLP, sign1, 8 local steps of 16),
each following the other eight; a frame arrives as soon as it is sent. CPU time of this process, the
median of all agent-rounds after the first few. Every event goes through the real core; computations
are made as on a device. The bare primitives take turns with the agents, so that a busy machine
slows both.

Indented rows are parts of the row above; those of receive and publish are measured by the same
functions on the same data a second time. What the parts leave of the gate is mostly the record of
the merge: hashed, sealed, signed. Not in it: the write to the disk, the network, and keyframes,
which a renewed slot of the view costs about once in ten rounds. Runs on one BLAS thread.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when numpy is imported

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from statistics import median
from typing import ParamSpec, TypeVar

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gossamer_agent.events import (
    Effect,
    Evaluate,
    EvaluateDone,
    Event,
    Merge,
    MergeDone,
    PeersSeen,
    Received,
    RoundDue,
    Send,
    Started,
    Train,
    TrainDone,
)
from gossamer_agent.learner import Vector, batches
from gossamer_agent.learning import Computation, LocalLearning
from gossamer_agent.round import AgentCore, Swarm
from gossamer_agent.tflite import TfliteLearner
from gossamer_crypto.envelope import HEADER_BYTES, Kind, open_envelope
from gossamer_crypto.feed import FeedWriter
from gossamer_crypto.identity import Identity, PeerId
from gossamer_crypto.labels import ENVELOPE_SIG
from gossamer_simulator.peers import build_swarm
from gossamer_simulator.scenario import Scenario
from gossamer_simulator.simulation import prepare
from gossamer_transport.delta import pack_delta, unpack_delta
from gossamer_transport.replica import Replica
from gossamer_transport.wire import EntryFrame, pack_frame, unpack_frame

VIEW = 8
AGENTS = VIEW + 1
ROUNDS = 40
WARM_UP_ROUNDS = 4

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Spent = defaultdict[str, float]

# The stage that a computation belongs to, and the one in which its answer is handled.
COMPUTED_IN = {Merge: "merge", Evaluate: "gate", Train: "train"}
HANDLED_IN = {RoundDue: "merge", MergeDone: "merge", EvaluateDone: "gate", TrainDone: "publish"}
STAGES = ("receive", "merge", "gate", "train", "publish")
PARTS = {
    "receive": ("parse", "verify", "open", "apply"),
    "merge": ("rule",),
    "gate": ("two evaluations",),
    "train": (),
    "publish": ("encode", "seal and sign", "sign alone", "frame"),
}
ENTRIES = "entries"
BARE = ("8 Ed25519 verifies", "np.median of 9 x 4810", "8 gradients and SGD steps")


def timed(
    spent: Spent,
    name: str,
    call: Callable[Arguments, Result],
    *args: Arguments.args,
    **kwargs: Arguments.kwargs,
) -> Result:
    begin = time.process_time()
    result = call(*args, **kwargs)
    spent[name] += time.process_time() - begin
    return result


@dataclass(slots=True)
class Shadow:
    """Follows the measured feeds along, to run single steps of the work a second time."""

    swarm: Swarm
    own: Replica
    feed: FeedWriter
    identity: Identity
    replicas: dict[PeerId, Replica] = field(default_factory=dict)

    def receive(self, spent: Spent, frames: Iterable[bytes]) -> None:
        swarm = self.swarm
        secret = swarm.epochs.secret(swarm.epochs.current)
        assert secret is not None
        for raw in frames:
            frame = timed(spent, "parse", unpack_frame, raw, swarm.limits)
            if not isinstance(frame, EntryFrame):
                continue
            spent[ENTRIES] += 1
            envelope = frame.envelope
            timed(spent, "verify", envelope.head.verify)
            body = timed(spent, "open", open_envelope, envelope, secret)
            timed(spent, "apply", self._apply, envelope.header.author, body)

    def _apply(self, author: PeerId, body: bytes) -> None:
        swarm = self.swarm
        if author not in self.replicas:
            self.replicas[author] = self.fresh_replica(swarm)
        delta = unpack_delta(body, swarm.contract.parameters, swarm.policy.codec)
        self.replicas[author].apply(delta)

    def publish(self, spent: Spent, params: Vector, round_: int) -> None:
        chance = np.random.default_rng(0)  # sign1 draws nothing
        delta = timed(spent, "encode", self.own.publish, params, round_, chance)
        body = pack_delta(delta)
        entry = timed(spent, "seal and sign", self.feed.append, Kind.DELTA, body)
        message = bytes(HEADER_BYTES + 32)
        timed(spent, "sign alone", self.identity.sign, ENVELOPE_SIG, message)
        timed(spent, "frame", lambda: [pack_frame(EntryFrame(entry)) for _ in range(VIEW)])

    @staticmethod
    def fresh_replica(swarm: Swarm) -> Replica:
        return Replica(swarm.initial, swarm.policy.codec, swarm.contract.bound)


@dataclass(slots=True)
class Agent:
    core: AgentCore
    learning: LocalLearning
    shadow: Shadow
    inbox: list[Received] = field(default_factory=list)

    def round(self, spent: Spent) -> list[Send]:
        """Take what has arrived, make one round, return what is to be sent."""
        sends: list[Send] = []
        for received in self.inbox:
            effects = timed(spent, "receive", self.core.handle, 0.0, received)
            assert not effects, "entries fit, and followers that renew their lease lack nothing"
        self.shadow.receive(spent, [received.frame for received in self.inbox])
        self.inbox.clear()
        event: Event | None = RoundDue()
        while event is not None:
            stage = HANDLED_IN[type(event)]
            effects = timed(spent, stage, self.core.handle, 0.0, event)
            sends += sends_in(effects)
            asked = asked_in(effects)
            if isinstance(event, TrainDone):
                self.shadow.publish(spent, event.params, self.core.round)
            event = None if asked is None else self._compute(spent, asked)
        return sends

    def _compute(self, spent: Spent, asked: Computation) -> Event:
        begin = time.process_time()
        answer = self.learning.compute(asked)
        took = time.process_time() - begin
        spent[COMPUTED_IN[type(asked)]] += took
        if isinstance(asked, Merge):
            spent["rule"] += took
        elif isinstance(asked, Evaluate):
            spent["two evaluations"] += took
        return answer


@dataclass(slots=True)
class Bare:
    """The primitives that no implementation could do without, ready to run."""

    learner: TfliteLearner
    agent: Agent

    def run(self, spent: Spent) -> None:
        learning = self.agent.learning
        message, key = bytes(HEADER_BYTES + 32), Ed25519PrivateKey.generate()
        signature, public = key.sign(message), key.public_key()
        stack = np.stack([replica.vector for replica in self.agent.shadow.replicas.values()])
        stack = np.vstack([stack, self.agent.shadow.own.vector])
        timed(spent, BARE[0], lambda: [public.verify(signature, message) for _ in range(VIEW)])
        timed(spent, BARE[1], np.median, stack, axis=0)
        data, chance = learning.training, np.random.default_rng(0)
        rows = batches(len(data), learning.settings, chance)
        ready = [(data.x[row], data.y[row]) for row in rows]
        weights = self.agent.core.params.copy()
        rate = np.float32(learning.settings.learning_rate)

        def steps() -> None:
            for x, y in ready:
                gradient = self.learner.grad(weights, x, y)[1]
                gradient *= rate
                np.subtract(weights, gradient, out=weights)

        timed(spent, BARE[2], steps)


def sends_in(effects: list[Effect]) -> list[Send]:
    return [effect for effect in effects if isinstance(effect, Send)]


def asked_in(effects: list[Effect]) -> Computation | None:
    return next((e for e in effects if isinstance(e, Merge | Evaluate | Train)), None)


def deliver(agents: dict[PeerId, Agent], sender: PeerId, sends: list[Send]) -> None:
    for send in sends:
        agents[send.peer].inbox.append(Received(sender=sender, frame=send.frame))


def build(scenario: Scenario) -> tuple[list[Agent], TfliteLearner]:
    """The first nine peers of the scenario, who know and follow nobody but each other."""
    setup = prepare(scenario)
    learner = setup.learner
    assert isinstance(learner, TfliteLearner)
    simulated = build_swarm(scenario, learner, setup.slices)
    swarm = simulated.swarm
    agents = []
    for number, peer in enumerate(simulated.peers[:AGENTS]):
        assert peer.agent is not None
        identity = Identity.from_seed(bytes([number]) * 32)
        feed = FeedWriter(identity, swarm.swarm_id, swarm.epochs, os.urandom)
        shadow = Shadow(swarm, Shadow.fresh_replica(swarm), feed, identity)
        agents.append(Agent(peer.agent, peer.learning, shadow))
    introduce({agent.core.peer_id: agent for agent in agents}, simulated.genesis)
    return agents, learner


def introduce(agents: dict[PeerId, Agent], genesis: bytes) -> None:
    """Everybody starts, sees the others, and follows them."""
    for peer, agent in agents.items():
        agent.core.handle(0.0, Started(genesis=genesis))
        deliver(agents, peer, sends_in(agent.core.handle(0.0, PeersSeen(peers=tuple(agents)))))
    for agent in agents.values():
        for received in agent.inbox:
            assert not agent.core.handle(0.0, received), "nothing is published yet"
        agent.inbox.clear()
        assert len(agent.core.publisher.followers) == VIEW


def measure(agents: list[Agent], learner: TfliteLearner) -> list[Spent]:
    """CPU seconds by name of every agent-round after the first few."""
    by_peer = {agent.core.peer_id: agent for agent in agents}
    measured = []
    for round_ in range(1, ROUNDS + 1):
        for agent in agents:
            spent: Spent = defaultdict(float)
            deliver(by_peer, agent.core.peer_id, agent.round(spent))
            if round_ > WARM_UP_ROUNDS:
                assert spent[ENTRIES] == VIEW, "every round takes a delta of each followed peer"
                Bare(learner, agent).run(spent)
                measured.append(spent)
    return measured


def print_row(name: str, seconds: float, whole: float) -> None:
    print(f"| {name} | {seconds * 1e3:.3f} | {seconds / whole:.0%} |")


def main() -> None:
    agents, learner = build(Scenario(view=VIEW))
    parameters = learner.contract.parameters
    measured = measure(agents, learner)

    def typical(*names: str) -> float:
        return median(sum(spent[name] for name in names) for spent in measured)

    whole, bare = typical(*STAGES), typical(*BARE)
    print(f"{len(measured)} agent-rounds, {parameters} parameters\n")
    print("| stage | CPU ms | share |")
    print("|---|---:|---:|")
    for stage in STAGES:
        print_row(f"**{stage}**", typical(stage), whole)
        for part in PARTS[stage]:
            print_row(f"&nbsp;&nbsp; {part}", typical(part), whole)
    print_row("**agent-round**", whole, whole)
    for name in BARE:
        print_row(f"bare: {name}", typical(name), whole)
    print_row("**bare primitives together**", bare, whole)
    print(f"\nAn agent-round costs {whole / bare:.2f} times the bare primitives.")


if __name__ == "__main__":
    main()
