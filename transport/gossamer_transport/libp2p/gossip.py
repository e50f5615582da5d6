"""Published frames: GossipSub on the swarm's one topic, held on a short leash.

Theory of operation. What a forwarder sends passes, cheapest first: topic, sizes, the forwarder's
token bucket, whether the origin is a member, the bucket of this forwarder for this origin, whether
it was seen, the signature. Only then is it handed on. An origin has no bucket that all forwarders
share: whoever replays its old messages would empty it. Messages of one peer are handled one after
the other: its stream waits meanwhile, so that nobody can pile up work here. An own frame goes to
every linked member that listens, not only to the mesh: strangers may listen too, and must not be
able to fill the mesh.
"""

from __future__ import annotations

import logging
import random
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final

import trio
from libp2p.abc import IHost, INetStream
from libp2p.custom_types import TProtocol
from libp2p.exceptions import ParseError
from libp2p.io.abc import Reader
from libp2p.io.exceptions import MessageTooLarge
from libp2p.network.stream.exceptions import StreamEOF
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub
from libp2p.tools.anyio_service import background_trio_service
from libp2p.utils.varint import read_varint_prefixed_bytes_limited

from gossamer_crypto.errors import Reason
from gossamer_crypto.identity import PeerId
from gossamer_transport.libp2p.bucket import Buckets, TokenBucket
from gossamer_transport.libp2p.dedupe import Recent
from gossamer_transport.libp2p.peer_ids import peer_of

PUBLISHED_BYTES_MAX: Final = 64 * 1024
MESSAGE_BYTES_MAX: Final = PUBLISHED_BYTES_MAX + 1024  # with its signature and names
SEQNO_BYTES: Final = 8
RPC_BYTES_MAX: Final = 256 * 1024
RPC_TIMEOUT_S: Final = 20.0
PUBLISHED_PER_S: Final = 20.0
PUBLISHED_BURST: Final = 20.0
WAITING_MAX: Final = 256
FORWARDED_PER_S: Final = 100.0
FORWARDED_BURST: Final = 1000.0
ORIGIN_PER_S: Final = 10.0
ORIGIN_BURST: Final = 200.0
SEEN_HOLD_S: Final = 600.0
SEEN_MAX: Final = 16_384
ANNOUNCE_S: Final = 30.0
"""How often others are told that we listen: streams break, and libp2p says it once per stream."""

HEARD_IDS_MAX: Final = 1000
WANTED_IDS_MAX: Final = 64
"""How many messages one RPC may tell us of, and ask us for."""

DEGREE: Final = 6

log = logging.getLogger("gossamer.transport")

Sink = Callable[[PeerId, bytes], None]
Refuse = Callable[[PeerId | None, Reason, bool], None]  # the bool: must the link go


class GossipLeash:
    """What survives a host: buckets, what was seen, and own frames that wait to go out."""

    def __init__(
        self,
        *,
        topic: str,
        member: Callable[[PeerId], bool],
        deliver: Sink,
        refuse: Refuse,
        now: float,
    ) -> None:
        self.topic = topic
        self.member = member
        self.deliver = deliver
        self.refuse = refuse
        self.forwarders: Buckets[ID] = Buckets(FORWARDED_PER_S, FORWARDED_BURST)
        self.paths: Buckets[tuple[ID, PeerId]] = Buckets(ORIGIN_PER_S, ORIGIN_BURST)
        self.seen = Recent(SEEN_HOLD_S, SEEN_MAX)
        self.pace = TokenBucket(PUBLISHED_PER_S, PUBLISHED_BURST, now)
        self.waiting: deque[bytes] = deque(maxlen=WAITING_MAX)  # drops the oldest
        self.filled = trio.Event()

    def publish(self, frame: bytes) -> None:
        """Queue an own frame."""
        self.waiting.append(frame)
        self.filled.set()

    def objection(self, forwarder: ID, message: rpc_pb2.Message, now: float) -> Reason | None:
        """Return what speaks against `message` before anything costly is done with it."""
        if list(message.topicIDs) != [self.topic]:
            return Reason.UNEXPECTED
        if len(message.data) > PUBLISHED_BYTES_MAX or message.ByteSize() > MESSAGE_BYTES_MAX:
            return Reason.TOO_LARGE
        if len(message.seqno) != SEQNO_BYTES:
            return Reason.BAD_FRAME
        if not self.forwarders.take(forwarder, now):
            return Reason.FLOOD
        origin = peer_of(ID(message.from_id))
        if origin is None:
            return Reason.BAD_KEY
        if not self.member(origin):
            return Reason.NOT_A_MEMBER
        return None if self.paths.take((forwarder, origin), now) else Reason.FLOOD


def leash_control(control: rpc_pb2.ControlMessage, topic: str) -> bool:
    """Take out of `control` what GossipSub would fill its memory with: its tables have a row for
    whatever topic is named, and an answer holds a message as often as it is asked for. Peers whom
    a PRUNE recommends would be dialled: that is our dialer's business. Whether anything was about
    another topic.
    """
    strange = False
    by_topic: tuple[Any, ...] = (control.ihave, control.graft, control.prune)
    for field in by_topic:
        ours = next((each for each in field if each.topicID == topic), None)
        strange = strange or any(each.topicID != topic for each in field)
        del field[:]
        if ours is not None:
            field.append(ours)  # one says it all
    for prune in control.prune:
        del prune.peers[:]
    for told in control.ihave:
        del told.messageIDs[HEARD_IDS_MAX:]
    _join_ids(control.iwant, WANTED_IDS_MAX)
    _join_ids(control.idontwant, HEARD_IDS_MAX)
    for name in ("extensions", "observe", "unobserve"):
        control.ClearField(name)
    return strange


def _join_ids(field: Any, ids_max: int) -> None:
    """Make one entry of all of `field`, with each id once."""
    ids = dict.fromkeys(number for each in field for number in each.messageIDs)
    del field[:]
    if ids:
        field.add(messageIDs=list(ids)[:ids_max])


class LeashedPubsub(Pubsub):
    """libp2p's pubsub, which survives what peers send, and says why it was refused."""

    def __init__(self, host: IHost, router: GossipSub, leash: GossipLeash) -> None:
        super().__init__(
            host,
            router,
            max_subscriptions_per_rpc=16,
            max_subscriptions_per_peer=4,
            max_inbound_rpc_size=RPC_BYTES_MAX,
            allowed_topics={leash.topic},
        )
        self._leash = leash
        # The original counts from the time of day in seconds: after a restart, or without a clock,
        # the same numbers come again, and others take what is new for what they have seen.
        self.counter = secrets.randbits(62)

    async def continuously_read_stream(self, stream: INetStream) -> None:
        """Handle one RPC after the other until the peer ends the stream or breaks a rule."""
        forwarder = stream.muxed_conn.peer_id
        try:
            while self.manager.is_running:
                rpc = await self._read_rpc(stream)
                # The original also drops an RPC whose signed address record is not newer than the
                # last one, and so ignores a peer that was restarted. We do not use the records.
                for message in rpc.publish:
                    await self.push_msg(forwarder, message)
                if len(rpc.subscriptions) <= self.max_subscriptions_per_rpc:
                    for subscription in rpc.subscriptions:
                        self.handle_subscription(forwarder, subscription)
                if rpc.HasField("control"):
                    await self._control(forwarder, rpc)
        except StreamEOF:
            return
        except (MessageTooLarge, ParseError, ValueError, trio.TooSlowError) as error:
            large = isinstance(error, MessageTooLarge)
            reason = Reason.TOO_LARGE if large else Reason.BAD_FRAME
            self._leash.refuse(peer_of(forwarder), reason, True)
            raise

    async def _control(self, forwarder: ID, rpc: rpc_pb2.RPC) -> None:
        """Hand on what is left of the control messages, within the forwarder's bucket."""
        if not self._leash.forwarders.take(forwarder, trio.current_time()):
            self._leash.refuse(peer_of(forwarder), Reason.FLOOD, False)
            return
        if leash_control(rpc.control, self._leash.topic):
            self._leash.refuse(peer_of(forwarder), Reason.UNEXPECTED, False)
        rpc.ClearField("senderRecord")
        await self.router.handle_rpc(rpc, forwarder)

    async def _read_rpc(self, stream: INetStream) -> rpc_pb2.RPC:
        """Wait for the next RPC. Raises MessageTooLarge, ValueError, TooSlowError for bad ones."""
        first = _OneByteAhead(stream)
        await first.wait()
        with trio.fail_after(RPC_TIMEOUT_S):
            raw = await read_varint_prefixed_bytes_limited(first, self.max_inbound_rpc_size)
        rpc = rpc_pb2.RPC()
        try:
            rpc.ParseFromString(raw)
        except Exception as error:  # protobuf's DecodeError is not always a ValueError
            raise ValueError("not an RPC") from error
        return rpc

    async def handle_dead_peer_queue(self) -> None:
        """Give up our stream to a peer when its link is gone, and open another on the next link.

        The original keeps the dead one if there is any link by now: the peer came back quickly, and
        would not be told again that we listen.
        """
        async with self.dead_peer_receive_channel:
            self.event_handle_dead_peer_queue_started.set()
            async for peer_id in self.dead_peer_receive_channel:
                stream = self.peers.get(peer_id)
                if stream is None or stream.muxed_conn.is_closed:
                    self._handle_dead_peer(peer_id)

    def _handle_dead_peer(self, peer_id: ID) -> None:
        """Keep what a peer listens to while it has a link: only its stream was dead.

        The original forgets it, and a peer that came back quickly is not sent anything any more.
        """
        topic = self._leash.topic
        listened = peer_id in self.peer_topics.get(topic, ())
        super()._handle_dead_peer(peer_id)
        if listened and self._peer_is_connected(peer_id):
            self.peer_topics.setdefault(topic, set()).add(peer_id)
            self._peer_subscription_count[peer_id] = 1

    async def announce(self) -> None:
        """Tell all peers again that we listen."""
        rpc, subscription = self._build_announce_rpc(self._leash.topic, True)
        await self.message_all_peers(rpc.SerializeToString(), announce=subscription)

    async def push_msg(self, msg_forwarder: ID, msg: rpc_pb2.Message) -> None:
        """Take a message, our own or a forwarded one; bad ones are counted and dropped."""
        own = msg_forwarder == self.my_id
        if not own:
            reason = self._leash.objection(msg_forwarder, msg, trio.current_time())
            if reason is not None:
                self._leash.refuse(peer_of(msg_forwarder), reason, False)
                return
        try:
            await super().push_msg(msg_forwarder, msg)
        except Exception as error:
            log.debug("a published message was dropped: %r", error)
            if not own:
                self._leash.refuse(peer_of(msg_forwarder), Reason.BAD_FRAME, False)

    def notify_subscriptions(self, publish_message: rpc_pb2.Message) -> None:
        """Deliver a message that passed every check, once."""
        origin = peer_of(ID(publish_message.from_id))
        if origin is None or ID(publish_message.from_id) == self.my_id:
            return
        key = (origin, publish_message.seqno)
        if self._leash.seen.is_new(key, trio.current_time()):
            self._leash.deliver(origin, publish_message.data)


class LeashedRouter(GossipSub):
    """GossipSub with its defaults repaired, and members preferred over strangers."""

    def __init__(self, leash: GossipLeash, heartbeat_s: float) -> None:
        super().__init__(
            protocols=[TProtocol("/meshsub/1.2.0"), TProtocol("/meshsub/1.1.0")],
            degree=DEGREE,
            degree_low=4,
            degree_high=8,
            heartbeat_interval=heartbeat_s,  # type: ignore[arg-type]  # only slept on
            adaptive_gossip_enabled=False,
            eclipse_protection_enabled=False,
            spam_protection_enabled=False,
        )
        self._leash = leash

    def _check_equivocation(self, msg: rpc_pb2.Message) -> bool:  # noqa: ARG002
        """Keep no message; the original keeps up to a thousand whole ones."""
        return True

    def _get_peers_to_send(
        self,
        topic_ids: Iterable[str],
        msg_forwarder: ID,
        origin: ID,
        msg_id: bytes | None = None,
    ) -> Iterable[ID]:
        chosen = set(super()._get_peers_to_send(topic_ids, msg_forwarder, origin, msg_id))
        if self.pubsub is None:
            return chosen
        others = [peer for peer in self._listening_members() if peer not in (msg_forwarder, origin)]
        if origin == self.pubsub.my_id:
            return chosen.union(others)
        missing = DEGREE - len(chosen.intersection(others))
        spare = [peer for peer in others if peer not in chosen]
        return chosen.union(random.sample(spare, max(0, min(missing, len(spare)))))

    def _listening_members(self) -> list[ID]:
        listening = self.pubsub.peer_topics.get(self._leash.topic, ()) if self.pubsub else ()
        return [
            listener
            for listener in listening
            if (peer := peer_of(listener)) is not None and self._leash.member(peer)
        ]


class _OneByteAhead(Reader):
    """A stream whose next byte was read already: waiting for it is free of any deadline."""

    def __init__(self, stream: INetStream) -> None:
        self._stream = stream
        self._ahead = b""

    async def wait(self) -> None:
        self._ahead = await self._stream.read(1)

    async def read(self, n: int | None = None) -> bytes:
        if self._ahead:
            ahead, self._ahead = self._ahead, b""
            return ahead
        return await self._stream.read(n)


class Gossip:
    """GossipSub on a running host."""

    def __init__(self, pubsub: LeashedPubsub) -> None:
        self._pubsub = pubsub

    def listens(self, peer: ID) -> bool:
        """Return whether `peer` subscribed to the topic."""
        return peer in self._pubsub.peer_topics.get(self._pubsub._leash.topic, ())


@asynccontextmanager
async def gossiping(host: IHost, leash: GossipLeash, heartbeat_s: float) -> AsyncIterator[Gossip]:
    """Take part in the topic, and publish what `leash` has waiting, at its pace."""
    router = LeashedRouter(leash, heartbeat_s)
    pubsub = LeashedPubsub(host, router, leash)
    async with background_trio_service(pubsub), background_trio_service(router):
        await pubsub.wait_until_ready()
        subscription: Any = await pubsub.subscribe(leash.topic)
        assert subscription is not None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_publish_all, pubsub, leash)
            nursery.start_soon(_announce, pubsub)
            try:
                yield Gossip(pubsub)
            finally:
                nursery.cancel_scope.cancel()


async def _announce(pubsub: LeashedPubsub) -> None:
    while True:
        await trio.sleep(ANNOUNCE_S)
        await pubsub.announce()


async def _publish_all(pubsub: LeashedPubsub, leash: GossipLeash) -> None:
    while True:
        while not leash.waiting:
            leash.filled = trio.Event()
            await leash.filled.wait()
        await trio.sleep(leash.pace.wait_s(trio.current_time()))
        leash.pace.take(trio.current_time())
        if leash.waiting:
            await pubsub.publish(leash.topic, leash.waiting.popleft())
