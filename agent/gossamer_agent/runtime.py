"""The shell of an agent on a device: it drives one core with trio, over any network.

Theory of operation. Three sources make events: the network, the round timer, and the computation
under way. They hand them over, one at a time and without a buffer, to the only task that calls the
core; it performs the effects in order and then takes the next event. So an entry is durable before
anything later leaves the device, and when the store fails nobody is left who could send.

Computations run in a thread, and frames are handled meanwhile. So does every write to the store;
the agent waits for it, trio does not. With a large model the core itself is a matter of many
milliseconds and runs in a thread as well. Threads are never abandoned: on cancellation, whatever
has begun is finished before `run` returns, and the store can be closed safely after it.

Control frames (roster, heads, addresses) are none of the core's business and go to a callback.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, TypeAlias

import trio

from gossamer_agent.events import (
    Append,
    Effect,
    EvaluateDone,
    Event,
    PeersSeen,
    Received,
    Refused,
    RoundDone,
    RoundDue,
    Send,
    Started,
)
from gossamer_agent.groups import first_of_ours
from gossamer_agent.learner import Vector
from gossamer_agent.learning import Computation, LocalLearning
from gossamer_agent.pulse import Pulse, Work
from gossamer_agent.round import AgentCore
from gossamer_agent.store import FeedStore
from gossamer_agent.tally import Judge, RoundRecord, Tally, chosen_score
from gossamer_crypto.identity import PeerId
from gossamer_transport.errors import Unreachable
from gossamer_transport.network import Network
from gossamer_transport.wire import is_control

SEND_TIMEOUT_S: Final = 10.0
"""A frame that a link does not take for so long is lost, as if on the way."""
INLINE_PARAMETERS_MAX: Final = 1 << 16
"""Up to this size of a model a call of the core costs a few milliseconds at most."""

Control: TypeAlias = Callable[[PeerId, bytes], Awaitable[None]]
"""(who signed or sent it, control frame). Must not raise for what a peer sent."""

Due: TypeAlias = Callable[[], Awaitable[Sequence[Event]]]
"""What the core is told when a round is due: `RoundDue`, or what a pause makes of it."""


class AgentRuntime:
    """One agent at work. The caller opens network and store, and closes them after `run`.

    core: new, or brought by `resume` to where the feed in `store` ends; its feed writer continues
    that feed. genesis: packed. rounds: begin no more once `tally` counts so many, but go on
    serving. control: takes the control frames; without it the core refuses them. judge: measures
    the served parameters after each round. refused: how often bytes of peers were refused, by
    reason. last_round: the newest round that ended. kept: the newest entry that is durable.
    at_rest: whoever holds it may read the core, in any thread. due: asked before each round. pulse:
    what is under way, for a watchdog. first: what the core is told before anything else but
    `Started`. Raises ValueError for an interval that is not positive.
    """

    def __init__(
        self,
        *,
        core: AgentCore,
        store: FeedStore,
        network: Network,
        learning: LocalLearning,
        genesis: bytes,
        round_interval_s: float,
        rounds: int | None = None,
        control: Control | None = None,
        judge: Judge | None = None,
        tally: Tally | None = None,
        pulse: Pulse | None = None,
        due: Due | None = None,
        first: Sequence[Event] = (),
    ) -> None:
        if not round_interval_s > 0:
            raise ValueError("rounds need an interval above 0 s")
        self.core = core
        self.tally = tally or Tally()
        self.pulse = pulse or Pulse()
        self.refused = self.tally.refused
        self.last_round: RoundDone | None = None
        self.kept = core.publisher.feed.head
        self.at_rest = trio.Lock()
        self._store = store
        self._network = network
        self._learning = learning
        self._genesis = genesis
        self._round_interval_s = round_interval_s
        self._rounds = rounds
        self._events: trio.MemorySendChannel[Event] | None = None
        self._control = control
        self._judge = judge
        self._gate: EvaluateDone | None = None  # of the running round
        self._due = _always if due is None else due
        self._first = first
        self._in_thread = learning.learner.contract.parameters > INLINE_PARAMETERS_MAX
        self._one_at_a_time = trio.CapacityLimiter(1)

    async def run(self) -> None:
        """Take part until cancelled. Call it once.

        Raises the first GossamerError that leaves no way to go on, bare and not in a group, and
        sends nothing after it: StoreError when an own entry cannot be kept (build the core anew
        from the store), NetworkError when the network is closed, DivergedError.
        """
        if self.tally.begun_s is None:
            self.tally.begun_s = trio.current_time()
        sender, receiver = trio.open_memory_channel[Event](0)
        self._events = sender
        with first_of_ours(), sender, receiver:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._listen, sender)
                nursery.start_soon(self._keep_time, sender)
                if self.core.publisher.feed.head is None:
                    await self._handle(Started(genesis=self._genesis), nursery, sender)
                for event in self._first:
                    await self._handle(event, nursery, sender)
                async for event in receiver:
                    await self._handle(event, nursery, sender)

    async def tell(self, event: Event) -> None:
        """Hand an event of the shell's own to the core, now or, before `run`, not at all."""
        if self._events is not None:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await self._events.send(event)

    # Sources of events ---------------------------------------------------------------------------

    async def _listen(self, events: trio.MemorySendChannel[Event]) -> None:
        while True:
            received = await self._network.receive()
            if self._control is not None and is_control(received.frame):
                await self._control(received.peer, received.frame)
                continue
            await events.send(Received(sender=received.peer, frame=received.frame))

    async def _keep_time(self, events: trio.MemorySendChannel[Event]) -> None:
        """A round now and after every interval. The core ignores those that come while it is busy,
        and those that nobody could take are left out: a slow device makes fewer rounds.
        """
        due = trio.current_time()
        while True:
            self.pulse.timer(due)
            await trio.sleep_until(due)
            told = await self._due()
            self.pulse.timer(None)  # from here on it waits for the core's task, which has bounds
            for event in told:
                if not isinstance(event, RoundDue):
                    await events.send(event)
            await events.send(PeersSeen(peers=self._network.peers()))
            if RoundDue() in told:
                await events.send(RoundDue())
            late_s = trio.current_time() - due
            due += self._round_interval_s * (late_s // self._round_interval_s + 1)

    async def _compute(self, asked: Computation, events: trio.MemorySendChannel[Event]) -> None:
        with self.pulse.during(Work.COMPUTATION, trio.current_time()):
            answer = await trio.to_thread.run_sync(
                self._learning.compute, asked, limiter=self._one_at_a_time
            )
        await events.send(answer)

    # Effects -------------------------------------------------------------------------------------

    async def _handle(
        self, event: Event, nursery: trio.Nursery, events: trio.MemorySendChannel[Event]
    ) -> None:
        if isinstance(event, RoundDue) and self._enough():
            return
        if isinstance(event, EvaluateDone):
            self._gate = event
        with self.pulse.during(Work.EVENT, trio.current_time()):
            effects = await self._effects(event)
        for effect in effects:
            if isinstance(effect, Computation):
                nursery.start_soon(self._compute, effect, events)
            elif isinstance(effect, RoundDone):
                self._conclude(effect, nursery)
            else:
                with self.pulse.during(Work.EVENT, trio.current_time()):
                    await self._perform(effect)

    def _enough(self) -> bool:
        return self._rounds is not None and self.tally.rounds >= self._rounds

    async def _effects(self, event: Event) -> list[Effect]:
        now = trio.current_time()
        if not (self._in_thread or self.at_rest.locked()):
            return self.core.handle(now, event)
        async with self.at_rest:
            if not self._in_thread:
                return self.core.handle(now, event)
            return await trio.to_thread.run_sync(self.core.handle, now, event)

    async def _perform(self, effect: Effect) -> None:
        match effect:
            case Append(entry=entry):
                await trio.to_thread.run_sync(self._store.append, entry)
                self.kept = entry.head
            case Send(peer=peer, frame=frame):
                # Whoever misses it will ask again; one peer that stalls must not stop all.
                with suppress(Unreachable), trio.move_on_after(SEND_TIMEOUT_S):
                    await self._network.send(peer, frame)
                    self.tally.sent(len(frame))
            case Refused(reason=reason):
                self.refused[reason] += 1

    # Rounds that ended ---------------------------------------------------------------------------

    def _conclude(self, done: RoundDone, nursery: trio.Nursery) -> None:
        self.last_round = done
        self.tally.round_done(done)
        score, self._gate = chosen_score(self._gate, done), None
        record = partial(
            RoundRecord,
            round=done.round,
            merged=done.merged,
            committed=done.committed,
            holdout_loss=None if score is None else score.loss,
            holdout_accuracy=None if score is None else score.accuracy,
            bytes_sent=self.tally.bytes_sent,
            seconds=trio.current_time() - (self.tally.begun_s or 0.0),
        )
        if self._judge is None:
            self.tally.history.append(record(accuracy=None))
        else:
            nursery.start_soon(self._measure, self._judge, self.core.served, record)

    async def _measure(
        self, judge: Judge, served: Vector, record: Callable[..., RoundRecord]
    ) -> None:
        with self.pulse.during(Work.COMPUTATION, trio.current_time()):
            accuracy = await trio.to_thread.run_sync(judge, served, limiter=self._one_at_a_time)
        self.tally.history.append(record(accuracy=accuracy))


async def _always() -> Sequence[Event]:
    return (RoundDue(),)
