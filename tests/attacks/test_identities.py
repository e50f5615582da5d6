"""Peers that are not, or not any more, what they claim: other swarms, the evicted, used invites."""

from __future__ import annotations

import os
import signal
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field, replace
from functools import partial

import pytest
import trio
from honest_pair import HonestPair, Insider, Target, join, neighbour, new_keys
from insiders import frames, published
from libp2p.abc import IHost, INetStream
from libp2p.custom_types import TProtocol
from libp2p.peer.id import ID
from strangers import MESHSUB, connect, is_reset, linked, plain_host, run, subscription
from watching import CUT_S_MAX, Watch, attacking, rss_mb, watching

from gossamer_agent.exit_codes import ExitCode
from gossamer_agent.members.heads import HeadTable
from gossamer_agent.members.joining import RefusedError
from gossamer_agent.members.membership import Membership
from gossamer_agent.members.stewardship import load_roster
from gossamer_crypto.envelope import Envelope, Kind, open_envelope, seal
from gossamer_crypto.epoch_ring import EpochRing
from gossamer_crypto.errors import EnvelopeError, Reason
from gossamer_crypto.genesis import Genesis
from gossamer_crypto.identity import Identity, peer_id_text
from gossamer_crypto.join import (
    JoinRefusal,
    make_join_request,
    parse_join_answer,
)
from gossamer_crypto.keyfile import Keys
from gossamer_crypto.roster import Roster
from gossamer_transport.hello import HelloRequest, HelloStanding, parse_hello_response
from gossamer_transport.libp2p import (
    HELLO_PROTOCOL,
    JOIN_PROTOCOL,
    frames_protocol,
    pull_protocol,
)
from gossamer_transport.libp2p.chunks import encode_inline
from gossamer_transport.wire import AnnounceFrame, EntryFrame, FollowFrame, pack_frame

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def warm_mb(pair: HonestPair) -> float:
    pair.until_warm()
    return rss_mb(pair.steward.pid)


async def ask(host: IHost, peer: ID, protocol: str, question: bytes) -> bytes:
    """One question and its answer; raises when there is none."""
    stream = await host.new_stream(peer, [TProtocol(protocol)])
    await stream.write(struct.pack(">I", len(question)) + question)
    with trio.fail_after(20):
        (length,) = struct.unpack(">I", await read_all(stream, 4))
        return await read_all(stream, length)


async def read_all(stream: INetStream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        some = await stream.read(size - len(data))
        assert some
        data += some
    return data


def hello(swarm_id: bytes) -> bytes:
    """As one who knows nothing yet."""
    return HelloRequest(
        swarm_id=swarm_id, epoch=0, roster_len=0, roster_head=swarm_id, unix_time=0, version=""
    ).pack()


# Another swarm -----------------------------------------------------------------------------------


def other_genesis(founder: Identity, like: Genesis) -> Genesis:
    return replace(like, stewards=(founder.peer_id,), nonce=os.urandom(32))


def entry_of(author: Identity, swarm_id: bytes) -> Envelope:
    return seal(
        author,
        secret=bytes(32),
        swarm=swarm_id,
        epoch=1,
        kind=Kind.DELTA,
        incarnation=0,
        seq=1,
        prev=bytes(32),
        plaintext=b"poison",
        salt=os.urandom(32),
    )


@asynccontextmanager
async def member_of_another_swarm(target: Target) -> AsyncIterator[None]:
    """It is a steward where it comes from. Here it is told which swarm this is, and no more."""
    founder = Identity.generate()
    genesis = other_genesis(founder, target.genesis)
    frame = pack_frame(EntryFrame(entry_of(founder, genesis.swarm_id)))
    async with linked(target, founder) as (host, peer):
        for swarm_id in (target.swarm_id, genesis.swarm_id):
            answer = parse_hello_response(await ask(host, peer, HELLO_PROTOCOL, hello(swarm_id)))
            assert answer.standing is HelloStanding.STRANGER
            assert (answer.roster, answer.frames, answer.epoch) == ((), (), 0)
        with pytest.raises(Exception, match=r".*"):  # nobody speaks that here
            await host.new_stream(peer, [TProtocol(frames_protocol(genesis.swarm_id))])
        ended: list[bool] = []
        for protocol in (frames_protocol(target.swarm_id), pull_protocol(target.swarm_id)):
            with suppress(Exception):  # it may be reset before we know that it was opened
                stream = await host.new_stream(peer, [TProtocol(protocol)])
                await stream.write(encode_inline(frame))
                ended.append(await is_reset(stream, 5))
        assert all(ended)
        mesh = await host.new_stream(peer, [MESHSUB])
        await mesh.write(published(target, founder, 1, frame))
        yield


@asynccontextmanager
async def entries_of_another_swarm(target: Target) -> AsyncIterator[None]:
    """A member who is in two swarms carries entries from one to the other."""
    author = target.insider
    assert author is not None
    entry = entry_of(author, other_genesis(author, target.genesis).swarm_id)
    announced = pack_frame(AnnounceFrame(entry.head))
    async with linked(target, author) as (host, peer):
        await trio.sleep(2)  # the agent begins to follow us, else it would not look at it
        stream = await frames(target, host, peer)
        await stream.write(encode_inline(pack_frame(EntryFrame(entry))))
        gossip = await host.new_stream(peer, [MESHSUB])
        await gossip.write(published(target, author, 1, announced))
        yield


def test_member_of_another_swarm(pair: HonestPair, warm_mb: float) -> None:
    with watching(pair, warm_mb) as watch:

        async def main() -> None:
            async with attacking(member_of_another_swarm, pair.target):
                await watch.until_refused(Reason.NOT_A_MEMBER)

        run(main)
        assert watch.refused()[Reason.NOT_A_MEMBER] >= 3


def test_entries_of_another_swarm(pair: HonestPair, warm_mb: float) -> None:
    target = replace(pair.target, insider=pair.insider("two-faced").identity)
    with watching(pair, warm_mb) as watch:

        async def main() -> None:
            async with attacking(entries_of_another_swarm, target):
                await watch.until_refused(Reason.WRONG_SWARM)

        run(main)


# Invites -----------------------------------------------------------------------------------------


def test_an_invite_for_one_admits_one(pair: HonestPair, warm_mb: float) -> None:
    """Neither a second device nor a recording of the first's request gets in, ever."""
    invite, first, second = pair.invite(uses=1), new_keys(), new_keys()
    joined = join(invite, first)
    recorded = make_join_request(
        first.identity, first.prekeys[0].sign(first.identity), invite, joined.steward
    )

    def try_all() -> None:
        with pytest.raises(RefusedError) as refused:
            join(invite, second)
        assert refused.value.refusal is JoinRefusal.USED_UP
        assert run(lambda: replay_request(pair.target, recorded)) is JoinRefusal.BAD_REQUEST

    with watching(pair, warm_mb) as watch:
        try_all()
        run(lambda: watch.until_refused(Reason.BAD_INVITE, Reason.BAD_REQUEST))
    members = pair.steward.status().members
    assert join(invite, first).steward == joined.steward, "who was let in may ask again"
    assert pair.steward.status().members == members
    pair.dismiss()
    pair.steward.kill()
    pair.steward.start()
    pair.until_linked()
    with watching(pair, warm_mb) as watch:
        try_all()
        run(lambda: watch.until_refused(Reason.BAD_INVITE, Reason.BAD_REQUEST))


async def replay_request(target: Target, recorded: bytes) -> JoinRefusal | None:
    async with linked(target) as (host, peer):
        return parse_join_answer(await ask(host, peer, JOIN_PROTOCOL, recorded)).refusal


# Yesterday's traffic -----------------------------------------------------------------------------


def test_replay_of_yesterdays_traffic(pair: HonestPair, warm_mb: float) -> None:
    """A member records what another sends and publishes. The agent is restarted, the member plays
    it all to the agent, and again when two epochs have passed.
    """
    pair.dismiss()
    player = pair.insider("player")
    record = run(lambda: recorded(pair, player.identity))
    assert len(record.entries) >= 8
    assert record.gossip
    pair.steward.kill()
    pair.steward.start()
    run(lambda: answer_until_it_learns(pair, player))
    pair.until_linked()
    with watching(pair, warm_mb) as watch:
        run(lambda: play(pair.target, player.identity, record))
        run(lambda: watch.until_refused(Reason.REPLAYED))
        for _ in range(2):
            pair.rotate()
        pair.steward.until(lambda found: found.epoch == pair.ring().current)
        run(lambda: play(pair.target, player.identity, record))
        run(lambda: watch.until_refused(Reason.UNKNOWN_EPOCH))
    assert Reason.FORK not in watch.refused()
    other = neighbour(pair.steward.status(), pair.peers[1])
    assert other is not None
    assert other.standing == "admitted"


@dataclass
class Record:
    """frames: sent to a follower; gossip: what came on the pubsub stream, as it is."""

    frames: list[bytes] = field(default_factory=list)
    gossip: list[bytes] = field(default_factory=list)

    @property
    def entries(self) -> list[bytes]:
        return [frame for frame in self.frames if frame[1] == 1]


async def answer_until_it_learns(pair: HonestPair, player: Insider) -> None:
    """Answer the HELLO of the agent as members do: it asks two whether it is up to date."""
    genesis = pair.target.genesis
    roster, ring = Roster(genesis), EpochRing(player.peer, player.keys.prekeys)
    for raw in player.joined.roster:
        roster.extend(raw)
    membership = Membership(player.peer, genesis, roster, ring, HeadTable(), "")

    async def on_hello(stream: INetStream) -> None:
        with suppress(Exception):
            (length,) = struct.unpack(">I", await read_all(stream, 4))
            question = await read_all(stream, length)
            answer = membership.answer(pair.target.peer, question, int(time.time()))
            await stream.write(struct.pack(">I", len(answer)) + answer)
            await stream.close()

    pair.steward.until(lambda found: bool(found.addresses))
    async with plain_host(player.identity) as host:
        host.set_stream_handler(TProtocol(HELLO_PROTOCOL), on_hello)
        await connect(host, pair.target)
        with trio.fail_after(30):
            learning = partial(pair.steward.until, lambda found: found.state == "learning")
            await trio.to_thread.run_sync(learning)


async def recorded(pair: HonestPair, scribe: Identity) -> Record:
    """What the honest member says to a member."""
    record = Record()
    swarm_id = pair.target.swarm_id

    async def on_frames(stream: INetStream) -> None:
        with suppress(Exception):
            while True:
                (length,) = struct.unpack(">I", await read_all(stream, 4))
                record.frames.append(await read_all(stream, length))

    async def on_gossip(stream: INetStream) -> None:
        with suppress(Exception):
            while True:
                record.gossip.append(await stream.read(65536))

    member = replace(pair.target, peer=pair.peers[1], port=pair.member.port)
    async with plain_host(scribe) as host:
        host.set_stream_handler(TProtocol(frames_protocol(swarm_id)), on_frames)
        host.set_stream_handler(MESHSUB, on_gossip)
        peer = await connect(host, member)
        mesh = await host.new_stream(peer, [MESHSUB])
        await mesh.write(subscription(member))
        stream = await frames(member, host, peer)
        await stream.write(encode_inline(pack_frame(FollowFrame(0))))
        with trio.fail_after(30):
            while len(record.entries) < 8 or not record.gossip:  # noqa: ASYNC110
                await trio.sleep(0.1)
    return record


async def play(target: Target, player: Identity, record: Record) -> None:
    async with linked(target, player) as (host, peer):
        stream = await frames(target, host, peer)
        for _ in range(3):
            for frame in record.frames:
                await stream.write(encode_inline(frame))
        mesh = await host.new_stream(peer, [MESHSUB])
        with suppress(Exception):
            for raw in record.gossip * 3:
                await mesh.write(raw)
        await trio.sleep(1)


# Silence and eviction ----------------------------------------------------------------------------


def test_silent_and_then_evicted_member(pair: HonestPair, warm_mb: float) -> None:
    """A real agent is stopped, and its link is cut. Then it is evicted, and its keys are used."""
    thief = pair.third("toolshed")
    device = thief.device()
    keys, peer = device.keys, device.peer_id
    with closing(device.open_state()) as state:
        roster = load_roster(state, device.genesis)
    with watching(pair, warm_mb) as watch:
        stop_and_wait(pair, watch, thief.pid, peer_id_text(peer))
    old = pair.ring().current
    with watching(pair, warm_mb) as watch:
        run(lambda: go_on_after_eviction(pair, watch, keys.identity))
    os.kill(thief.pid, signal.SIGCONT)
    assert thief.child is not None
    assert thief.children.wait(thief.child, CUT_S_MAX), "it did not hear of its eviction"
    assert thief.child.exit_code == ExitCode.MEMBERSHIP
    assert_cannot_read(pair, keys, roster, old)


def assert_cannot_read(pair: HonestPair, keys: Keys, roster: Roster, old: int) -> None:
    """Its keys open entries of its own time, and none of the epoch that followed."""
    ring = EpochRing(keys.identity.peer_id, keys.prekeys)
    ring.follow(roster)
    pair.member.until(lambda found: found.epoch > old)
    written = pair.stored_entries(pair.member)
    pair.member.until(lambda found: (found.head_seq or 0) > len(written) + 2)
    entries = pair.stored_entries(pair.member)
    before = [entry for entry in entries if entry.header.epoch == old]
    after = [entry for entry in entries if entry.header.epoch > old]
    assert before
    assert after
    device = pair.steward.device()
    with closing(device.open_state()) as state:
        ring.follow(load_roster(state, device.genesis))  # should it get hold of all of it
    assert ring.current == old
    known = ring.archived(old)
    assert known is not None
    open_envelope(before[-1], known)
    secrets = [secret for epoch in range(old + 2) if (secret := ring.archived(epoch)) is not None]
    for entry in after:
        for secret in secrets:
            with pytest.raises(EnvelopeError):
                open_envelope(entry, secret)


def stop_and_wait(pair: HonestPair, watch: Watch, pid: int, name: str) -> None:
    """SIGSTOP: the sockets stay open, and nothing comes any more."""
    begun_at = time.monotonic()
    os.kill(pid, signal.SIGSTOP)
    while any(peer.peer == name and peer.linked for peer in pair.steward.status().peers):
        assert time.monotonic() - begun_at < CUT_S_MAX
        time.sleep(0.5)
    watch.cut_s = time.monotonic() - begun_at


async def go_on_after_eviction(pair: HonestPair, watch: Watch, identity: Identity) -> None:
    """Keep a link over the eviction, use whatever it gives until it is gone; then dial again."""
    target = pair.target
    async with linked(target, identity) as (host, peer):
        stream = await frames(target, host, peer)
        await stream.write(encode_inline(pack_frame(FollowFrame(0))))
        await trio.to_thread.run_sync(pair.evict, identity.peer_id)
        begun_at = trio.current_time()
        standing = HelloStanding.MEMBER
        while host.get_network().get_connections(peer):
            assert trio.current_time() - begun_at < CUT_S_MAX
            with suppress(Exception):
                await abuse(target, host, peer, identity)
            with suppress(Exception):
                raw = await ask(host, peer, HELLO_PROTOCOL, hello(target.swarm_id))
                answer = parse_hello_response(raw)
                assert answer.frames == () or answer.standing is HelloStanding.MEMBER
                standing = answer.standing
            await trio.sleep(0.5)
        watch.cut_s = trio.current_time() - begun_at
        assert standing is HelloStanding.REMOVED, "it was told why"
    await watch.until_refused(Reason.NOT_A_MEMBER)
    async with plain_host(identity) as host:
        with suppress(Exception):
            await connect(host, target)
        await watch.until_refused(Reason.BANNED)
        assert not host.get_network().get_connections()


async def abuse(target: Target, host: IHost, peer: ID, identity: Identity) -> None:
    """All that a member may do."""
    mesh = await host.new_stream(peer, [MESHSUB])
    await mesh.write(published(target, identity, time.time_ns(), b"\x91\x10"))
    for protocol in (frames_protocol(target.swarm_id), pull_protocol(target.swarm_id)):
        stream = await host.new_stream(peer, [TProtocol(protocol)])
        await stream.write(encode_inline(pack_frame(FollowFrame(0))) * 10)
