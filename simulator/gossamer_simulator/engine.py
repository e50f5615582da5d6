"""The simulator's shell: it drives real cores through virtual time.

Theory of operation. One heap of events in whole nanoseconds. An event goes to its peer's core; the
effects that come back are performed at once: frames go through the links and become events of
other peers, computations are made for real and their results become events as much later as the
device's profile says. Only the network, the clock and the disk are simulated; crypto, codec, merge
and learning are the product's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from gossamer_agent.events import (
    Append,
    Effect,
    Evaluate,
    Event,
    Merge,
    PeersSeen,
    Received,
    Refused,
    RoundDone,
    RoundDue,
    Send,
    Started,
    Train,
    TrainDone,
)
from gossamer_agent.learner import DivergedError as TrainingDivergedError
from gossamer_agent.learner import Learner, Samples
from gossamer_agent.learning import Computation
from gossamer_agent.profile import Speed
from gossamer_crypto.identity import PeerId
from gossamer_simulator.announcing import Announcement, Announcing
from gossamer_simulator.clock import ROUND_INTERVAL, SECOND, EventHeap, round_at
from gossamer_simulator.links import Links
from gossamer_simulator.metrics import Metrics, Sample, Trace, quarantine_rates
from gossamer_simulator.peers import SimulatedPeer, SimulatedSwarm, stream
from gossamer_simulator.resting import ENTRY_FLASH_BYTES, Resting
from gossamer_simulator.scenario import Scenario
from gossamer_transport.errors import DivergedError
from gossamer_transport.replica import replica_hash

Progress = Callable[[Sample, Metrics], None]


@dataclass(frozen=True, slots=True)
class _Happening:
    """An event on its way to a peer. sender: its number, for frames."""

    peer: int
    event: Event | Announcement
    sender: int | None = None


class Engine:
    """One run of one swarm."""

    def __init__(
        self, scenario: Scenario, learner: Learner, simulated: SimulatedSwarm, test: Samples
    ) -> None:
        self.metrics = Metrics()
        self.trace = Trace()
        self.peers = simulated.peers
        self._scenario = scenario
        self._learner = learner
        self._test = test
        self._genesis = simulated.genesis
        self._cabal = simulated.cabal
        self._heap: EventHeap[_Happening] = EventHeap()
        self._index = {peer.core.peer_id: i for i, peer in enumerate(self.peers)}
        self._chance = stream(scenario.seed, "links")
        self._links = Links(
            latency_ms=scenario.latency_ms,
            loss=scenario.loss,
            duplicate=scenario.duplicate,
        )

        self.announcing = Announcing(
            scenario,
            simulated.swarm,
            self.peers,
            present=lambda now, index: not _away(self.peers[index], now // ROUND_INTERVAL),
            later=lambda at, index, told: self._heap.push(at, _Happening(index, told)),
            tell=self._tell,
        )

    def run(self, progress: Progress) -> None:
        """Run to the end; `progress` is told the state after every round.

        The last round takes in what is still under way when its time is over.
        """
        self._schedule()
        for round_ in range(1, self._scenario.rounds + 1):
            last = round_ == self._scenario.rounds
            self._run_until(None if last else round_ * ROUND_INTERVAL)
            sample = self._sample(round_)
            self.metrics.samples.append(sample)
            progress(sample, self.metrics)

    def honest(self) -> Iterator[SimulatedPeer]:
        return (peer for peer in self.peers if peer.attack is None)

    # Time ----------------------------------------------------------------------------------------

    def _schedule(self) -> None:
        """Everybody starts at once; rounds begin at a phase of each peer's own."""
        everyone = tuple(sorted(self._index))
        for index, peer in enumerate(self.peers):
            self._heap.push(0, _Happening(index, Started(genesis=self._genesis)))
            if peer.siege is None:
                self._heap.push(0, _Happening(index, PeersSeen(peers=everyone)))
            else:
                seen = PeersSeen(peers=peer.siege.reachable)
                self._heap.push(0, _Happening(index, seen))
                relief = peer.siege.rounds * ROUND_INTERVAL
                self._heap.push(relief, _Happening(index, PeersSeen(peers=everyone)))
            phase = int(self._chance.integers(ROUND_INTERVAL * 9 // 10))
            for round_ in range(self._scenario.rounds):
                if not _away(peer, round_):
                    due = _Happening(index, RoundDue())
                    self._heap.push(phase + round_ * ROUND_INTERVAL, due)

    def _run_until(self, end: int | None) -> None:
        heap = self._heap
        while heap and (end is None or heap.next_at < end):
            due = heap.pop()
            self._happen(due.at, due.item)

    def _happen(self, now: int, happening: _Happening) -> None:
        peer, event = self.peers[happening.peer], happening.event
        if peer.failure is not None:
            return
        if isinstance(event, Announcement):
            self.announcing.deliver(now, happening.peer, event)
            return
        if isinstance(event, Received):
            if _away(peer, now // ROUND_INTERVAL):
                return
            assert happening.sender is not None
            self.trace.delivered(now, happening.sender, happening.peer, event.frame)
        if peer.resting is None:
            self._tell(now, happening.peer, event)
        else:
            self._tell_resting(now, happening.peer, event, peer.resting)
        self.announcing.after(now, happening.peer, event)

    def _tell_resting(self, now: int, index: int, event: Event, resting: Resting) -> None:
        """As `_tell`, to a device that counts bytes and asks its governor before each round."""
        if isinstance(event, Received):
            resting.network_bytes += len(event.frame)
        told: Sequence[Event] = (event,)
        if isinstance(event, RoundDue):
            told = resting.tick(now / ROUND_INTERVAL * 60 * self._scenario.interval)
        for one in told:
            self._tell(now, index, one)

    def _tell(self, now: int, index: int, event: Event) -> None:
        peer = self.peers[index]
        try:
            for effect in peer.core.handle(now / SECOND, event):
                self._perform(now, index, peer, effect)
        except (TrainingDivergedError, DivergedError) as error:
            peer.failure = error  # as on a device: its agent ends, the others go on

    # Effects -------------------------------------------------------------------------------------

    def _perform(self, now: int, index: int, peer: SimulatedPeer, effect: Effect) -> None:
        match effect:
            case Send(peer=receiver, frame=frame):
                self._send(now, index, peer, receiver, frame)
            case Append(entry=entry):
                peer.store.append(entry)
                if peer.resting is not None:
                    peer.resting.flash_bytes += entry.size + ENTRY_FLASH_BYTES
            case Merge() | Evaluate() | Train():
                self._compute(now, index, peer, effect)
            case Refused(reason=reason):
                if peer.attack is None:
                    self.metrics.refused[reason] += 1
            case RoundDone(merged=merged, committed=committed):
                if peer.attack is None:
                    self.metrics.round_done(merged, committed=committed)

    def _send(
        self, now: int, index: int, peer: SimulatedPeer, receiver: PeerId, frame: bytes
    ) -> None:
        if _away(peer, now // ROUND_INTERVAL):
            return
        if peer.attack is None:
            self.metrics.sent(len(frame))
        if peer.resting is not None:
            peer.resting.network_bytes += len(frame)
        happening = _Happening(
            self._index[receiver], Received(sender=peer.core.peer_id, frame=frame), index
        )
        ends = (peer.profile.link, self.peers[happening.peer].profile.link)
        for at in self._links.deliveries(self._chance, now, len(frame), ends):
            self._heap.push(at, happening)

    def _compute(self, now: int, index: int, peer: SimulatedPeer, asked: Computation) -> None:
        answer = peer.compute(asked, round_at(now / SECOND))
        if isinstance(asked, Train) and isinstance(answer, TrainDone) and peer.row is not None:
            self._cabal.watch(peer.row, asked.params, answer.params)
            self.trace.trained(now, index, replica_hash(answer.params))
        steps = peer.learning.settings.steps
        took_ns = round(self._cost_ms(peer.profile.speed, asked, steps) * 1e6)
        self._heap.push(now + took_ns, _Happening(index, answer))

    def _cost_ms(self, speed: Speed, asked: Computation, steps: int) -> float:
        """What a computation takes on a device of this speed. steps: of a training."""
        match asked:
            case Train():
                return speed.train_step_ms * steps
            case Evaluate():
                return speed.train_step_ms
            case Merge(inputs=inputs):
                share = len(inputs) / 9 * self._learner.contract.parameters / 1e6
                return share * speed.merge_ms_per_million_values

    # Measuring -----------------------------------------------------------------------------------

    def _sample(self, round_: int) -> Sample:
        agents = [peer.agent for peer in self.honest() if peer.agent is not None]
        accuracies = tuple(
            peer.learning.learner.evaluate(peer.agent.served, self._test).accuracy
            for peer in self.honest()
            if peer.agent is not None
        )
        reputation = []
        for peer in self.peers:
            subject = peer.core.peer_id
            tables = [agent.reputation for agent in agents]
            known = [table.score(subject) for table in tables if subject in table]
            reputation.append(fmean(known) if known else None)
        return Sample(
            round=round_,
            accuracies=accuracies,
            bytes_sent=self.metrics.bytes_sent,
            reputation=tuple(reputation),
            quarantine=quarantine_rates(self.peers),
        )


def _away(peer: SimulatedPeer, round_: int) -> bool:
    return any(first <= round_ < end for first, end in peer.absences)
