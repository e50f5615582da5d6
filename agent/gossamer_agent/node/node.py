"""The running agent of one device: puts its parts together and keeps them alive.

Theory of operation. From the inside to the outside: the state store with roster, keys and heads;
the status socket, which also says that no other agent works here; the network; and then side by
side until something ends them all:

    control      roster, heads and addresses: HELLO, announcements (`control`)
    life         own feed, head check, rounds (`life`)
    keep_linked  dials members
    rotation     the clock of the epochs (`rotation`)
    caches       saves what may be lost (`caches`)
    retention    keeps what others published, for audits (`retention`)
    vouching     has the own log cosigned, cosigns those of others (`vouching`)
    pausing      keeps it within the means of the device (`pausing`)
    serving      the local API and the watched folder (`serving`)

Cancelling `run_node` ends all of it in the reverse order: computations are awaited, caches saved,
stores and network closed, the socket removed. Being removed from the swarm ends it with
`RemovedError`; a proof that this device's key signed two entries for one place, with `ForkedError`.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, suppress
from functools import partial
from typing import Final, TypeAlias

import trio

from gossamer_agent.device.folder import Device
from gossamer_agent.errors import MembershipError, StoreError
from gossamer_agent.events import ForkSeen
from gossamer_agent.forks import ForkWatch, told_of
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
from gossamer_agent.node.ownerwords import OwnerWords, labels_answer
from gossamer_agent.node.pausing import Pausing
from gossamer_agent.node.portrait import observe, portray
from gossamer_agent.node.retention import Retention
from gossamer_agent.node.rotation import Rotation
from gossamer_agent.node.serving import Serving
from gossamer_agent.node.status import AgentStatus, pack_status
from gossamer_agent.node.statussocket import answering
from gossamer_agent.node.vouching import OwnLog, Unconvicted, Vouching
from gossamer_agent.pauses.sensors import Sensors
from gossamer_agent.round import AgentCore
from gossamer_agent.store.feeds import feed_path
from gossamer_agent.store.state import StateStore
from gossamer_agent.version import program_version
from gossamer_crypto.envelope import Head
from gossamer_crypto.epoch_ring import EpochRing
from gossamer_crypto.errors import EpochError
from gossamer_crypto.fork_proof import ForkProof, fork_proof
from gossamer_crypto.identity import PeerId, peer_id_text
from gossamer_crypto.join import JOIN_REQUEST_BYTES_MAX
from gossamer_crypto.roster import Roster
from gossamer_transport.hello import HELLO_REQUEST_BYTES_MAX
from gossamer_transport.limits import Limits

JOIN: Final = "/gossamer/join/1"
CHECKPOINT_S: Final = 8.0
"""Less than the status socket waits for an answer."""
FAREWELL_S: Final = 3.0

OpenOutside: TypeAlias = Callable[
    [Device, Roster, Limits, StateStore], AbstractAsyncContextManager[Outside]
]
"""Opens the network of a device. The store holds the addresses that were known last."""
OpenSensors: TypeAlias = Callable[[Callable[[], int]], Sensors]
"""The sensors of the device, given its counter of network bytes."""


class RemovedError(MembershipError):
    """A steward removed this device from its swarm."""


class ForkedError(MembershipError):
    """This device's key signed two entries for one place: it works twice, or an old image did."""


async def run_node(
    device: Device,
    *,
    open_outside: OpenOutside,
    rounds: int | None = None,
    on_ready: Callable[[Node], None] | None = None,
    open_sensors: OpenSensors = Sensors,
) -> None:
    """Run the agent of `device` until cancelled. rounds: begin no more than so many.

    open_sensors: where readings come from. on_ready: called once the network is open. Raises one
    bare AgentError or NetworkError for what ends the agent, RemovedError and ForkedError among
    them.
    """
    with first_of_ours(), closing(LastingState(device.state_path)) as state:
        async with _assembled(device, state, open_outside, rounds, open_sensors) as node:
            if on_ready is not None:
                on_ready(node)
            await node.run()


@asynccontextmanager
async def _assembled(
    device: Device,
    state: StateStore,
    open_outside: OpenOutside,
    rounds: int | None,
    open_sensors: OpenSensors,
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

    async def label() -> bytes:
        return await nodes[0].label() if nodes else b"null"

    async def checkpoint() -> bytes:
        return await nodes[0].checkpoint() if nodes else b"null"

    async def metrics() -> bytes:
        return await nodes[0].metrics() if nodes else b""

    answers = {
        "status": status,
        "doctor": doctor,
        "checkpoint": checkpoint,
        "label": label,
        "metrics": metrics,
    }
    async with answering(device.path, answers):
        means = await trio.to_thread.run_sync(partial(gather, device, roster, ring, rounds=rounds))
        async with open_outside(device, roster, means.swarm.limits, state) as outside:
            node = Node(
                device=device,
                state=state,
                roster=roster,
                ring=ring,
                means=means,
                outside=outside,
                open_sensors=open_sensors,
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
        open_sensors: OpenSensors = Sensors,
    ) -> None:
        self.device = device
        self.roster = roster
        self.ring = ring
        self.means = means
        self.outside = outside
        self.begun_s = trio.current_time()
        self.heads = HeadTable()
        self.forks = ForkWatch(device.genesis.swarm_id, roster, self.heads)
        self._forked = trio.Event()
        self.stewardship = (
            Stewardship(device.identity, device.genesis, state) if device.is_steward else None
        )
        settings = device.config.network
        self.control = Control(
            membership=Membership(
                device.peer_id,
                device.genesis,
                roster,
                ring,
                self.heads,
                program_version(),
                self.forks,
            ),
            roster=roster,
            state=state,
            outside=outside,
            interval_s=means.announce_interval_s,
            own_head=self._own_head,
            on_epoch=self._epoch_moved,
            on_fork=self._convicted,
        )
        network = outside.network
        self.pausing = Pausing(
            means.limits,
            open_sensors(lambda: network.bytes_sent + network.bytes_received),
            state,
            means.round_interval_s,
            runtime=lambda: self.life.runtime,
        )
        self.caches = Caches(
            state,
            self.forks,
            address_rows=outside.address_rows,
            runtime=lambda: self.life.runtime,
            may_write=lambda: self.pausing.permissions.keep,
        )
        self.retention = Retention(
            device.path,
            min(device.config.log.received_mb << 20, means.limits.blobs_bytes),
            swarm=device.genesis.swarm_id,
            keys=ring,
            runtime=lambda: self.life.runtime,
            may_keep=lambda: self.pausing.permissions.keep,
        )
        self.owner = OwnerWords(
            device.config, state, ring.archived, feed=lambda: self._own_log().file
        )
        self.life = Life(
            means,
            outside.network,
            self.control,
            self.caches,
            on_core=self._core_begins,
            owner=self.owner,
            due=self.pausing.due,
        )
        self.vouching = Vouching(
            identity=device.identity,
            swarm=device.genesis.swarm_id,
            members=Unconvicted(roster, self.forks),
            newest=self.heads.newest,
            state=state,
            network=outside.network,
            own=self._own_log,
            on_fork=self._told_two_stories,
        )
        self.serving = Serving(self)
        self._rotation = Rotation(
            retire=ring.retire_previous,
            rotate=None if self.stewardship is None else self._rotate,
            turn=device.genesis.stewards.index(device.peer_id) if self.stewardship else 0,
            rotate_hours=settings.rotate_hours,
        )

    async def run(self) -> None:
        """Work until cancelled, removed (RemovedError) or found in two places (ForkedError)."""
        self.caches.restore_heads()
        self._check_own_forks()
        network = self.outside.network
        network.serve(HELLO, self.control.answer, request_bytes_max=HELLO_REQUEST_BYTES_MAX)
        if self.stewardship is not None:
            network.serve(JOIN, self._answer_join, request_bytes_max=JOIN_REQUEST_BYTES_MAX)
        self.vouching.serve()
        try:
            async with trio.open_nursery() as nursery:
                for work in (
                    self.control.run,
                    self.life.run,
                    partial(self.outside.keep_linked, self.life.followed),
                    self._rotation.run,
                    self.caches.run,
                    self.retention.run,
                    self.vouching.run,
                    self.pausing.run,
                    self.serving.run,
                ):
                    nursery.start_soon(work)
                nursery.start_soon(self._stop_if_forked)
                await self.control.removed.wait()
                self.life.state = "removed"
                raise _removed(self.device, self.roster)
        finally:
            self.caches.save_now()
            self.retention.save_now()
            self.pausing.save_now()
            self.means.intake.close()

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

    async def metrics(self) -> bytes:
        """What a Prometheus server reads."""
        from gossamer_agent.metrics import exposition  # noqa: PLC0415  where nobody asks, no cost

        runtime = self.life.runtime
        if runtime is None:
            return exposition(self)
        async with runtime.at_rest:
            return exposition(self)

    async def checkpoint(self) -> bytes:
        """Have the newest own entry cosigned now; what came of it, as JSON."""
        outcome = None
        with trio.move_on_after(CHECKPOINT_S):
            outcome = await self.vouching.ask()
        vouched = self.vouching.vouched if outcome is None else outcome.signed
        declined = {} if outcome is None else outcome.declined
        answer = {
            "note": None if vouched is None else vouched.pack().decode(),
            "linked": len(self.outside.network.peers()),
            "declined": {peer_id_text(peer): why for peer, why in sorted(declined.items())},
            "in_time": outcome is not None,
        }
        return json.dumps(answer).encode()

    async def label(self) -> bytes:
        """Write the labels that wait into the log; those that got there, as JSON."""
        written = None
        if self.life.runtime is not None:
            with trio.move_on_after(CHECKPOINT_S):
                written = await self.owner.write_labels(self.life.runtime)
        return b"null" if written is None else labels_answer(written)

    async def farewell(self) -> None:
        """What is to be done while others can still be reached; a few seconds at most."""
        with trio.move_on_after(FAREWELL_S):
            await self.vouching.farewell()

    def troubles(self) -> Iterator[str]:
        """What does not stop us but should be looked at."""
        yield from self.means.warnings
        yield from self.caches.troubles
        if self.control.trouble is not None:
            yield self.control.trouble
        if self.vouching.trouble is not None:
            yield self.vouching.trouble
        if self.retention.trouble is not None:
            yield self.retention.trouble
        if self.owner.trouble is not None:
            yield self.owner.trouble
        if self.pausing.trouble is not None:
            yield self.pausing.trouble
        yield from self.means.intake.troubles()
        yield from self.serving.troubles.values()

    def _core_begins(self, core: AgentCore) -> None:
        self.retention.attach(core)
        self.pausing.attach(core)

    def _own_head(self) -> Head | None:
        return self.life.head()

    def _own_log(self) -> OwnLog:
        number = self.life.incarnation
        return OwnLog(number, self.life.head(), feed_path(self.device.path, number))

    async def _told_two_stories(self, first: Head, second: Head) -> None:
        """We were asked to vouch for the second where we knew the first."""
        await self.control.recorded(fork_proof(first, second))

    async def _convicted(self, proof: ForkProof) -> None:
        if proof.author == self.device.peer_id:
            self._forked.set()
        elif self.life.runtime is not None:
            await self.life.runtime.tell(ForkSeen(proof=proof))

    async def _stop_if_forked(self) -> None:
        await self._forked.wait()
        self.life.state = "stopped: this identity works in two places"
        self._check_own_forks()

    def _check_own_forks(self) -> None:
        proof = self.forks.proofs.get(self.device.peer_id)
        if proof is not None:
            raise ForkedError(
                f"{self.device.path}: this identity {told_of(proof)}, so the other members have"
                " shut it out for good: a copy of this folder runs elsewhere, or an old image of it"
                " did; `gossamer doctor` helps to tell which"
            )

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
