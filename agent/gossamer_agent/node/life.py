"""The learning life of an agent: open the own feed, ask whether it is the newest, learn, and start
over when the store fails.

Theory of operation. One pass is: open the newest feed; unless this process has published from it
already, ask the neighbours (`headcheck`); build the core and replay the feed; run. A StoreError
ends the pass: nothing is published any more, status and control frames are still served, and the
next pass begins after a pause that doubles. A damaged feed is kept as it is; the pass after it
begins the next incarnation, again after asking. So it is when neighbours turn out, later on, to
know a newer entry of ours: those that we asked had not heard of it.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Final

import trio

from gossamer_agent.errors import StoreError
from gossamer_agent.events import ForkSeen
from gossamer_agent.groups import first_of_ours
from gossamer_agent.node.caches import Caches
from gossamer_agent.node.control import Control
from gossamer_agent.node.headcheck import Verdict, is_ahead, judge, next_incarnation
from gossamer_agent.node.means import Means
from gossamer_agent.node.ownerwords import OwnerWords
from gossamer_agent.pulse import Pulse, Work
from gossamer_agent.resume import inherit, resume
from gossamer_agent.round import AgentCore
from gossamer_agent.runtime import AgentRuntime, Due
from gossamer_agent.store import DamagedStoreError, feeds
from gossamer_agent.store.feeds import OwnFeed
from gossamer_agent.store.sqlite import SqliteStore
from gossamer_agent.tally import Tally
from gossamer_agent.usefulness import Sticky
from gossamer_crypto.envelope import Head
from gossamer_crypto.feed import FeedWriter
from gossamer_crypto.identity import PeerId
from gossamer_transport.network import Network
from gossamer_transport.wire import is_control

LEARNING: Final = "learning"
RETRY_S: Final = (1.0, 60.0)
HEALTHY_S: Final = 60.0
"""After so long a pass the next pause is a short one again."""


INCARNATION_S: Final = 3600.0
"""No more than one incarnation is begun in this time: two clones of a device must not race."""


class OvertakenError(StoreError):
    """Neighbours know a newer entry of ours than this device has."""


class Life:
    """Runs passes until cancelled.

    state: for the status, in words. runtime: of the running pass. tally, pulse: of all
    passes. store_failures: passes that the store ended. on_core: told of each core before it runs.
    owner: writes what the owner did into the log. due: what a core is told when a round is due.
    """

    def __init__(
        self,
        means: Means,
        network: Network,
        control: Control,
        caches: Caches,
        *,
        on_core: Callable[[AgentCore], None],
        owner: OwnerWords | None = None,
        due: Due | None = None,
    ) -> None:
        self.state = "starting"
        self.tally = Tally()
        self.pulse = Pulse()
        self.store_failures = 0
        self.runtime: AgentRuntime | None = None
        self._means = means
        self._network = network
        self._control = control
        self._caches = caches
        self._on_core = on_core
        self._owner = owner
        self._due = due
        self._own = OwnFeed(incarnation=0, head=None)
        self._checked = False
        self._next_turn = float("-inf")  # when the next incarnation may begin

    @property
    def incarnation(self) -> int:
        return self._own.incarnation

    def head(self) -> Head | None:
        """Our newest durable entry; None before the first."""
        if self.runtime is not None:
            return self.runtime.kept
        return self._own.head

    def followed(self) -> tuple[PeerId, ...]:
        """The peers whose replicas we keep now: links to them matter most."""
        return () if self.runtime is None else self.runtime.core.following.peers

    async def run(self) -> None:
        """Live until cancelled. Raises what no retry can help, such as DivergedError."""
        pause = RETRY_S[0]
        while True:
            begun = trio.current_time()
            try:
                await self._pass()
            except StoreError as error:
                self.store_failures += 1
                if isinstance(error, DamagedStoreError):
                    self._own = replace(self._own, damaged=True)
                if isinstance(error, DamagedStoreError | OvertakenError):
                    self._checked = False
                self.state = f"store failed: {error}"
            if trio.current_time() - begun >= HEALTHY_S:
                pause = RETRY_S[0]
            async with self._listening():
                await trio.sleep(pause)
            pause = min(2 * pause, RETRY_S[1])

    async def _pass(self) -> None:
        await self._await_key()
        store = await self._open()
        try:
            runtime = await self._wake(store)
            self._caches.restore_core(runtime.core)
            self._on_core(runtime.core)
            self.runtime = runtime
            self.state = LEARNING
            with first_of_ours():
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._watch_own_head, runtime)
                    nursery.start_soon(self._exchange_evidence, runtime)
                    if self._owner is not None:
                        nursery.start_soon(self._owner.write_labels, runtime)
                    await runtime.run()
        finally:
            self.pulse.timer(None)
            self._own = replace(self._own, head=self.head())
            if self.runtime is not None:
                core, self.runtime = self.runtime.core, None
                with suppress(StoreError):
                    self._caches.save_core(core)
            # Closing a store that has failed fails again.
            with suppress(StoreError):
                store.close()

    async def _watch_own_head(self, runtime: AgentRuntime) -> None:
        while True:
            known = self._control.membership.own_head_known()
            own = replace(self._own, head=runtime.kept)
            if known is not None and is_ahead(known, own):
                raise OvertakenError(
                    f"neighbours know entry {known.header.seq} of incarnation"
                    f" {known.header.incarnation} of ours, which is not here"
                )
            await trio.sleep(1.0)

    async def _exchange_evidence(self, runtime: AgentRuntime) -> None:
        """What the core's following saw goes to where the evidence of others is; and what was
        proved, now or before this pass, to the core, which bans.
        """
        core, evidence = runtime.core, runtime.core.following.evidence
        forks = self._control.membership.forks
        while True:
            while evidence:
                await self._control.recorded(evidence.popleft())
            for author in sorted(forks.proofs.keys() - core.banned):
                if author != core.peer_id:
                    await runtime.tell(ForkSeen(proof=forks.proofs[author]))
            await trio.sleep(1.0)

    async def _await_key(self) -> None:
        """Without any key of the swarm nothing can be read or written."""
        async with self._listening():
            while not self._means.ring.current:
                self.state = "waiting for the key of the swarm from a steward"
                await trio.sleep(1.0)

    # Opening -------------------------------------------------------------------------------------

    async def _open(self) -> SqliteStore:
        """The feed that may be continued, after asking if need be."""
        damaged = self._own.damaged
        with self.pulse.during(Work.OPENING, trio.current_time()):
            own, store = await trio.to_thread.run_sync(feeds.open_newest, self._means.folder)
        try:
            self._own = own = replace(own, damaged=own.damaged or damaged)
            checked = self._checked and not own.damaged
            verdict = Verdict.CONTINUE if checked else await self._ask(own)
            if verdict is Verdict.CONTINUE:
                assert store is not None, "a damaged feed is not continued"
                self._checked = True
                kept, store = store, None
                return kept
        finally:
            if store is not None:
                store.close()
        await self._await_turn()
        number = next_incarnation(own, self._control.membership.own_head_known())
        with self.pulse.during(Work.OPENING, trio.current_time()):
            begun = await trio.to_thread.run_sync(feeds.begin, self._means.folder, number)
        self._own = OwnFeed(incarnation=number, head=None)
        self._checked = True
        self._next_turn = trio.current_time() + INCARNATION_S
        return begun

    async def _await_turn(self) -> None:
        async with self._listening():
            if trio.current_time() < self._next_turn:
                self.state = "store failed: the own feed was lost twice within an hour; waiting"
                await trio.sleep_until(self._next_turn)

    async def _ask(self, own: OwnFeed) -> Verdict:
        begun = trio.current_time()
        async with self._listening():
            while True:
                others = len(self._control.roster.members) - 1
                answers = self._control.membership.confirmations
                verdict = judge(
                    own,
                    others=others,
                    answers=len(answers),
                    known=self._control.membership.own_head_known(),
                    waited_s=trio.current_time() - begun,
                )
                if verdict is not Verdict.WAIT:
                    return verdict
                self.state = (
                    f"asking neighbours for our newest entry: {len(answers)} of {others} answered"
                )
                with trio.move_on_after(1.0):
                    await self._control.news.wait()

    async def _wake(self, store: SqliteStore) -> AgentRuntime:
        """A runtime whose core is where the feed in `store` ends."""
        means, number = self._means, self._own.incarnation
        writer = FeedWriter(
            means.identity,
            means.swarm.swarm_id,
            means.ring,
            os.urandom,
            incarnation=number,
            head=store.head(),
        )
        core = AgentCore(
            peer_id=means.identity.peer_id,
            swarm=means.swarm,
            feed=writer,
            rng=means.chance(),
            sticky=Sticky(means.learning.options.follow),
        )
        secret = means.ring.archived
        if store.head() is None:
            older = feeds.entries_before(means.folder, number)
            replay = partial(inherit, core, means.swarm, older, secret)
        else:
            replay = partial(resume, core, means.swarm, store.entries(), secret)
        with self.pulse.during(Work.OPENING, trio.current_time()):
            await trio.to_thread.run_sync(replay)
        return AgentRuntime(
            core=core,
            store=store,
            network=self._network,
            learning=means.learning,
            genesis=means.genesis.pack(),
            round_interval_s=means.round_interval_s,
            rounds=means.rounds,
            control=self._control.heard,
            judge=means.judge,
            tally=self.tally,
            pulse=self.pulse,
            due=self._due,
            first=() if self._owner is None else await self._owner.first(),
        )

    @asynccontextmanager
    async def _listening(self) -> AsyncIterator[None]:
        """Take control frames while no core runs; all other frames are lost, as if on the way."""

        async def listen() -> None:
            while True:
                received = await self._network.receive()
                if is_control(received.frame):
                    await self._control.heard(received.peer, received.frame)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            yield
            nursery.cancel_scope.cancel()
