"""The running agent of one device: puts its parts together and keeps them alive.

Theory of operation. From the inside to the outside: the state store with roster, keys and heads;
the status socket, which also says that no other agent works here; the network; and then side by
side until something ends them all:

    control      roster, heads and addresses: HELLO, announcements (`control`)
    life         own feed, head check, rounds (`life`)
    keep_linked  dials members
    rotation     the clock of the epochs (`rotation`)
    caches       saves what may be lost (`caches`)

Cancelling `run_node` ends all of it in the reverse order: computations are awaited, caches saved,
stores and network closed, the socket removed. Being removed from the swarm ends it with
`RemovedError`.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, suppress
from functools import partial
from typing import Final, TypeAlias

import trio

from gossamer_agent.device.folder import Device
from gossamer_agent.errors import MembershipError, StoreError
from gossamer_agent.events import ForkSeen
from gossamer_agent.groups import first_of_ours
from gossamer_agent.members.heads import HeadTable
from gossamer_agent.members.membership import Membership
from gossamer_agent.members.stewardship import Stewardship, load_roster
from gossamer_agent.node.caches import Caches
from gossamer_agent.node.control import HELLO, Control
from gossamer_agent.node.doctor import pack_observations
from gossamer_agent.node.lasting import LastingState
from gossamer_agent.node.life import Life
from gossamer_agent.node.means import Means, gather
from gossamer_agent.node.outside import Outside
from gossamer_agent.node.portrait import observe, portray
from gossamer_agent.node.rotation import Rotation
from gossamer_agent.node.status import AgentStatus, pack_status
from gossamer_agent.node.statussocket import answering
from gossamer_agent.store.state import StateStore
from gossamer_agent.version import program_version
from gossamer_crypto.envelope import Head
from gossamer_crypto.epoch_ring import EpochRing
from gossamer_crypto.errors import EpochError
from gossamer_crypto.identity import PeerId, peer_id_text
from gossamer_crypto.join import JOIN_REQUEST_BYTES_MAX
from gossamer_crypto.roster import Roster
from gossamer_transport.hello import HELLO_REQUEST_BYTES_MAX
from gossamer_transport.limits import Limits

JOIN: Final = "/gossamer/join/1"

OpenOutside: TypeAlias = Callable[
    [Device, Roster, Limits, StateStore], AbstractAsyncContextManager[Outside]
]
"""Opens the network of a device. The store holds the addresses that were known last."""


class RemovedError(MembershipError):
    """A steward removed this device from its swarm."""


async def run_node(
    device: Device,
    *,
    open_outside: OpenOutside,
    rounds: int | None = None,
    on_ready: Callable[[Node], None] | None = None,
) -> None:
    """Run the agent of `device` until cancelled. rounds: begin no more than so many.

    on_ready: called once the network is open. Raises one bare AgentError or NetworkError for what
    ends the agent, RemovedError among them.
    """
    with first_of_ours(), closing(LastingState(device.state_path)) as state:
        async with _assembled(device, state, open_outside, rounds) as node:
            if on_ready is not None:
                on_ready(node)
            await node.run()


@asynccontextmanager
async def _assembled(
    device: Device, state: StateStore, open_outside: OpenOutside, rounds: int | None
) -> AsyncIterator[Node]:
    roster = await trio.to_thread.run_sync(load_roster, state, device.genesis)
    check_membership(device, roster)
    ring = EpochRing(device.peer_id, device.keys.prekeys)
    with suppress(EpochError):  # a steward's fault; the next epoch may be ours
        ring.follow(roster)
    nodes: list[Node] = []

    async def status() -> bytes:
        return pack_status(await nodes[0].status() if nodes else _starting(device, roster))

    async def doctor() -> bytes:
        return await nodes[0].observations() if nodes else b"null"

    async with answering(device.path, {"status": status, "doctor": doctor}):
        means = await trio.to_thread.run_sync(partial(gather, device, roster, ring, rounds=rounds))
        async with open_outside(device, roster, means.swarm.limits, state) as outside:
            node = Node(
                device=device, state=state, roster=roster, ring=ring, means=means, outside=outside
            )
            nodes.append(node)
            yield node


def check_membership(device: Device, roster: Roster) -> None:
    """Raise unless `device` is a member now."""
    if roster.was_removed(device.peer_id) and device.peer_id not in roster:
        raise _removed(device, roster)
    if device.peer_id not in roster:
        raise MembershipError(
            f"{device.path}: this device is no member of {device.genesis.name!r}; "
            "join with an invite: gossamer join"
        )


class Node:
    """An agent that is put together. `run` once."""

    def __init__(
        self,
        *,
        device: Device,
        state: StateStore,
        roster: Roster,
        ring: EpochRing,
        means: Means,
        outside: Outside,
    ) -> None:
        self.device = device
        self.roster = roster
        self.ring = ring
        self.means = means
        self.outside = outside
        self.begun_s = trio.current_time()
        self.heads = HeadTable()
        self.stewardship = (
            Stewardship(device.identity, device.genesis, state) if device.is_steward else None
        )
        settings = device.config.network
        self.control = Control(
            membership=Membership(
                device.peer_id, device.genesis, roster, ring, self.heads, program_version()
            ),
            roster=roster,
            state=state,
            outside=outside,
            interval_s=settings.announce_interval_s,
            own_head=self._own_head,
            on_epoch=self._epoch_moved,
            on_fork=self._forked,
        )
        self.caches = Caches(
            state,
            self.heads,
            address_rows=outside.address_rows,
            runtime=lambda: self.life.runtime,
        )
        self.life = Life(means, outside.network, self.control, self.caches)
        self._rotation = Rotation(
            retire=ring.retire_previous,
            rotate=None if self.stewardship is None else self._rotate,
            turn=device.genesis.stewards.index(device.peer_id) if self.stewardship else 0,
            rotate_hours=settings.rotate_hours,
        )

    async def run(self) -> None:
        """Work until cancelled, or until we are removed (RemovedError)."""
        self.caches.restore_heads()
        network = self.outside.network
        network.serve(HELLO, self.control.answer, request_bytes_max=HELLO_REQUEST_BYTES_MAX)
        if self.stewardship is not None:
            network.serve(JOIN, self._answer_join, request_bytes_max=JOIN_REQUEST_BYTES_MAX)
        try:
            async with trio.open_nursery() as nursery:
                for work in (
                    self.control.run,
                    self.life.run,
                    partial(self.outside.keep_linked, self.life.followed),
                    self._rotation.run,
                    self.caches.run,
                ):
                    nursery.start_soon(work)
                await self.control.removed.wait()
                self.life.state = "removed"
                raise _removed(self.device, self.roster)
        finally:
            self.caches.save_now()

    async def status(self) -> AgentStatus:
        """What the agent does now."""
        runtime = self.life.runtime
        if runtime is None:
            return portray(self)
        async with runtime.at_rest:
            return portray(self)

    async def observations(self) -> bytes:
        """What `gossamer doctor` judges by, as JSON."""
        runtime = self.life.runtime
        if runtime is None:
            return pack_observations(observe(self))
        async with runtime.at_rest:
            return pack_observations(observe(self))

    def troubles(self) -> Iterator[str]:
        """What does not stop us but should be looked at."""
        yield from self.means.warnings
        yield from self.caches.troubles
        if self.device.peer_id in self.heads.forks:
            yield "another device publishes under this identity: stop one of the two"
        if self.control.trouble is not None:
            yield self.control.trouble

    def _own_head(self) -> Head | None:
        return self.life.head()

    async def _forked(self, author: PeerId) -> None:
        if self.life.runtime is not None and author != self.device.peer_id:
            await self.life.runtime.tell(ForkSeen(author=author))

    def _epoch_moved(self) -> None:
        self._rotation.epoch_moved()

    # Stewards ------------------------------------------------------------------------------------

    async def _answer_join(self, peer: PeerId, request: bytes) -> bytes:
        assert self.stewardship is not None, "only stewards serve this"
        answer = await trio.to_thread.run_sync(
            self.stewardship.answer_join, peer, request, int(time.time())
        )
        await self.control.reload()
        return answer

    async def _rotate(self) -> None:
        assert self.stewardship is not None, "only stewards rotate"
        try:
            await trio.to_thread.run_sync(self.stewardship.rotate)
            await self.control.reload()
        except StoreError as error:
            self.control.trouble = f"the key was not renewed: {error}"


def _starting(device: Device, roster: Roster) -> AgentStatus:
    return AgentStatus(
        version=program_version(),
        name=device.config.device.name,
        peer=peer_id_text(device.peer_id),
        steward=device.is_steward,
        swarm=device.genesis.name,
        swarm_id=device.genesis.swarm_id.hex(),
        state="starting",
        epoch=roster.epoch,
        members=len(roster.members),
    )


def _removed(device: Device, roster: Roster) -> RemovedError:
    entry = roster.removal_of(device.peer_id)
    steward = "a steward" if entry is None else f"steward {peer_id_text(entry.steward)}"
    return RemovedError(
        f"{device.path}: {steward} removed this device from {device.genesis.name!r}; "
        "it publishes and learns nothing more there"
    )
