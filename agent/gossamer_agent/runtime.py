"""The shell of an agent on a device: it drives one core with trio, over any network.

Theory of operation. Three sources make events: the network, the round timer, and the computation
under way. They hand them over, one at a time and without a buffer, to the only task that calls the
core; it performs the effects in order and then takes the next event. So an entry is durable before
anything later leaves the device, and when the store fails nobody is left who could send.

Computations run in a thread, and frames are handled meanwhile. So does every write to the store;
the agent waits for it, trio does not. Threads are never abandoned: on cancellation, whatever has
begun is finished before `run` returns, and the store can be closed safely after it.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import Final

import trio

from gossamer_agent.events import (
    Append,
    Effect,
    Event,
    PeersSeen,
    Received,
    Refused,
    RoundDone,
    RoundDue,
    Send,
    Started,
)
from gossamer_agent.learning import Computation, LocalLearning
from gossamer_agent.round import AgentCore
from gossamer_agent.store import FeedStore
from gossamer_crypto.errors import GossamerError, Reason
from gossamer_transport.errors import Unreachable
from gossamer_transport.network import Network

SEND_TIMEOUT_S: Final = 10.0
"""A frame that a link does not take for so long is lost, as if on the way."""


class AgentRuntime:
    """One agent at work. The caller opens network and store, and closes them after `run`.

    core: new, or brought by `resume` to where the feed in `store` ends; its feed writer continues
    that feed. genesis: packed. refused: how often bytes of peers were refused, by reason.
    last_round: the newest round that ended. Raises ValueError for an interval that is not positive.
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
    ) -> None:
        if not round_interval_s > 0:
            raise ValueError("rounds need an interval above 0 s")
        self.core = core
        self.refused: Counter[Reason] = Counter()
        self.last_round: RoundDone | None = None
        self._store = store
        self._network = network
        self._learning = learning
        self._genesis = genesis
        self._round_interval_s = round_interval_s
        self._one_at_a_time = trio.CapacityLimiter(1)

    async def run(self) -> None:
        """Take part until cancelled. Call it once.

        Raises the first GossamerError that leaves no way to go on, bare and not in a group, and
        sends nothing after it: StoreError when an own entry cannot be kept (build the core anew
        from the store), NetworkError when the network is closed, DivergedError.
        """
        error: BaseException | None = None
        sender, receiver = trio.open_memory_channel[Event](0)
        try:
            with sender, receiver:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._listen, sender)
                    nursery.start_soon(self._keep_time, sender)
                    if self.core.publisher.feed.head is None:
                        await self._handle(Started(genesis=self._genesis), nursery, sender)
                    async for event in receiver:
                        await self._handle(event, nursery, sender)
        except BaseExceptionGroup as group:
            error = group.subgroup(GossamerError)
            if error is None:
                raise
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if error is not None:
            raise error

    # Sources of events ---------------------------------------------------------------------------

    async def _listen(self, events: trio.MemorySendChannel[Event]) -> None:
        while True:
            received = await self._network.receive()
            await events.send(Received(sender=received.peer, frame=received.frame))

    async def _keep_time(self, events: trio.MemorySendChannel[Event]) -> None:
        """A round now and after every interval. The core ignores those that come while it is busy,
        and those that nobody could take are left out: a slow device makes fewer rounds.
        """
        due = trio.current_time()
        while True:
            await trio.sleep_until(due)
            await events.send(PeersSeen(peers=self._network.peers()))
            await events.send(RoundDue())
            late_s = trio.current_time() - due
            due += self._round_interval_s * (late_s // self._round_interval_s + 1)

    async def _compute(self, asked: Computation, events: trio.MemorySendChannel[Event]) -> None:
        answer = await trio.to_thread.run_sync(
            self._learning.compute, asked, limiter=self._one_at_a_time
        )
        await events.send(answer)

    # Effects -------------------------------------------------------------------------------------

    async def _handle(
        self, event: Event, nursery: trio.Nursery, events: trio.MemorySendChannel[Event]
    ) -> None:
        for effect in self.core.handle(trio.current_time(), event):
            if isinstance(effect, Computation):
                nursery.start_soon(self._compute, effect, events)
            else:
                await self._perform(effect)

    async def _perform(self, effect: Effect) -> None:
        match effect:
            case Append(entry=entry):
                await trio.to_thread.run_sync(self._store.append, entry)
            case Send(peer=peer, frame=frame):
                # Whoever misses it will ask again; one peer that stalls must not stop all.
                with suppress(Unreachable), trio.move_on_after(SEND_TIMEOUT_S):
                    await self._network.send(peer, frame)
            case Refused(reason=reason):
                self.refused[reason] += 1
            case RoundDone():
                self.last_round = effect
