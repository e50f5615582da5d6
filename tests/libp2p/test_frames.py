"""Frames between real hosts: large ones, broken links, and peers that lie about them."""

from __future__ import annotations

import os
import struct
from collections.abc import Awaitable, Callable
from types import SimpleNamespace

import pytest
import trio
from libp2p.network.exceptions import SwarmException
from libp2p.protocol_muxer.exceptions import MultiselectClientError

from gossamer_crypto.errors import Reason
from gossamer_transport.address_book import Provenance
from gossamer_transport.errors import Unreachable
from gossamer_transport.libp2p import Libp2pNetwork, frames_protocol, pull_protocol, streams
from gossamer_transport.libp2p.chunks import INLINE_BYTES_MAX, Offer, encode_inline, encode_offer
from gossamer_transport.libp2p.dial import why
from gossamer_transport.limits import Limits
from gossamer_transport.network import Received

pytestmark = pytest.mark.slow

LIMITS = Limits(frame_bytes_max=4 << 20, receive_bytes_max=16 << 20)


def run(scenario: Callable[[], Awaitable[None]], timeout_s: float = 30) -> None:
    async def bounded() -> None:
        with trio.fail_after(timeout_s):
            await scenario()

    trio.run(bounded)


async def raw_frames(sender: Libp2pNetwork, receiver: Libp2pNetwork, raw: bytes) -> None:
    """Write `raw` on a stream of frames, as a member with other software would."""
    assert sender._live is not None
    protocol = frames_protocol(sender._options.swarm_id)
    stream = await sender._live.open_stream(receiver.peer_id, protocol)
    await streams.write_all(stream, raw)


@pytest.mark.parametrize("size", [INLINE_BYTES_MAX, INLINE_BYTES_MAX + 1, 4 << 20])
def test_every_size_arrives(loopback: SimpleNamespace, size: int) -> None:
    async def scenario() -> None:
        async with loopback.linked(2, LIMITS) as (alice, bob):
            frame = os.urandom(size)
            await alice.send(bob.peer_id, frame)
            assert await bob.receive() == Received(alice.peer_id, frame)
            assert bob.bytes_received >= size
            await loopback.until(lambda: alice.bytes_sent >= size)
            assert alice.frames_sent == 1

    run(scenario)


def test_a_pull_goes_on_where_the_link_broke(
    loopback: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with loopback.linked(2, LIMITS) as (alice, bob):
            frame = os.urandom(4 << 20)
            write_now = streams.write_now
            written = 0

            async def write_and_break(stream, data):  # type: ignore[no-untyped-def]
                nonlocal written
                before, written = written, written + len(data)
                if before < 2_000_000 <= written:
                    await alice._live.cut(bob.peer_id)
                await write_now(stream, data)

            monkeypatch.setattr(streams, "write_now", write_and_break)
            await alice.send(bob.peer_id, frame)
            await loopback.until(lambda: written > 2_000_000)
            await loopback.until(lambda: not bob.peers())
            await trio.sleep(0.3)
            await bob.dial(alice.addresses()[0])
            assert (await bob.receive()).frame == frame
            assert bob._exchange._puller.resumed
            assert bob._exchange._puller.bytes_received < len(frame) + 1_000_000
            assert written < len(frame) + 1_500_000

    run(scenario)


def test_a_frame_that_is_not_what_was_offered(loopback: SimpleNamespace) -> None:
    async def scenario() -> None:
        async with loopback.linked(2, LIMITS) as (alice, bob):
            offer = Offer(bytes(32), 100_000)
            alice._exchange._shelf._frames[offer.digest] = (
                trio.current_time(),
                bytes(100_000),
                {bob.peer_id},
            )
            await raw_frames(alice, bob, encode_offer(offer) + encode_inline(b"after"))
            await loopback.until(lambda: bob.refused[Reason.BAD_FRAME])
            assert (await bob.receive()).frame == b"after"

    run(scenario)


@pytest.mark.parametrize(
    ("header", "reason"),
    [(0x7FFFFFFF, Reason.TOO_LARGE), (0xFFFFFFFF, Reason.TOO_LARGE), (70_000, Reason.BAD_FRAME)],
)
def test_a_lying_length_costs_the_link(
    loopback: SimpleNamespace, header: int, reason: Reason
) -> None:
    async def scenario() -> None:
        async with loopback.linked(3, LIMITS) as (alice, bob, carol):
            await raw_frames(alice, bob, struct.pack(">I", header) + bytes(1000))
            await loopback.until(lambda: bob.peers() == (carol.peer_id,))
            assert bob.refused[reason] == 1
            await carol.send(bob.peer_id, b"still here")
            assert (await bob.receive()).frame == b"still here"

    run(scenario)


def test_a_frame_that_does_not_end(
    loopback: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "STALL_S", 0.5)

    async def scenario() -> None:
        async with loopback.linked(3, LIMITS) as (alice, bob, carol):
            await raw_frames(alice, bob, encode_inline(b"a whole one") + b"\0\0\0\x09half")
            await raw_frames(carol, bob, encode_inline(b"resting between frames is allowed"))
            await loopback.until(lambda: bob.peers() == (carol.peer_id,))
            assert bob.refused[Reason.BAD_FRAME] == 1
            assert len([await bob.receive() for _ in range(2)]) == 2
            await trio.sleep(0.7)
            assert bob.peers() == (carol.peer_id,)

    run(scenario)


def test_offers_beyond_the_quota_are_refused(loopback: SimpleNamespace) -> None:
    async def scenario() -> None:
        async with loopback.linked(2, LIMITS) as (alice, bob):
            offers = [Offer(bytes([number]) * 32, 100_000) for number in range(20)]
            await raw_frames(alice, bob, b"".join(map(encode_offer, offers)))
            await loopback.until(lambda: bob.refused[Reason.FLOOD] == 12)
            await loopback.until(
                lambda: not bob._exchange._puller._quota._running
            )  # alice has none of them
            frame = os.urandom(100_000)
            await alice.send(bob.peer_id, frame)
            assert (await bob.receive()).frame == frame

    run(scenario)


def test_a_flood_of_frames_costs_the_link(loopback: SimpleNamespace) -> None:
    async def scenario() -> None:
        async with loopback.linked(3, LIMITS) as (alice, bob, carol):
            with pytest.raises((streams.StreamBrokenError, Unreachable)):
                for _ in range(100):
                    await raw_frames(alice, bob, encode_inline(b"x") * 100)
                    await trio.lowlevel.checkpoint()
                raise streams.StreamBrokenError
            await loopback.until(lambda: bob.peers() == (carol.peer_id,))
            assert bob.refused[Reason.FLOOD] >= 1000

    run(scenario)


def test_a_frame_offered_to_one_is_not_for_another(loopback: SimpleNamespace) -> None:
    async def scenario() -> None:
        async with loopback.linked(3, LIMITS) as (alice, bob, carol):
            frame = os.urandom(100_000)
            await alice.send(bob.peer_id, frame)
            await bob.receive()
            offer = Offer(next(iter(alice._exchange._shelf._frames)), len(frame))
            stream = await carol._live.open_stream(alice.peer_id, pull_protocol(loopback.swarm_id))
            await streams.write_all(stream, struct.pack(">32sQ", offer.digest, 0))
            assert await streams.read_all(stream, 4) == bytes(4)
            assert await streams.read_some(stream, 1) == b""

    run(scenario)


def test_questions_and_answers(loopback: SimpleNamespace) -> None:
    async def scenario() -> None:
        async with loopback.linked(2) as (alice, bob):

            async def echo(peer: bytes, question: bytes) -> bytes:
                return peer + question

            bob.serve("/test/1", echo, request_bytes_max=100_000)

            async def ask(question: bytes, protocol: str = "/test/1") -> bytes:
                return await alice.request(
                    bob.peer_id, protocol, question, response_bytes_max=100_032, timeout_s=2
                )

            for question in (b"", b"why", os.urandom(100_000)):
                assert await ask(question) == alice.peer_id + question
            with pytest.raises(Unreachable, match="no answer"):
                await ask(bytes(100_001))
            assert bob.refused[Reason.TOO_LARGE] == 1
            with pytest.raises(Unreachable, match="no common protocol"):
                await ask(b"", "/test/2")

            async def ponder(peer: bytes, question: bytes) -> bytes:
                await trio.sleep_forever()

            bob.serve("/test/3", ponder, request_bytes_max=10)
            with pytest.raises(Unreachable, match="timed out"):
                await ask(b"", "/test/3")
            with pytest.raises(Unreachable, match="is above"):
                await alice.request(bob.peer_id, "/test/1", b"x", response_bytes_max=1, timeout_s=2)
            for _ in range(100):
                try:
                    await ask(b"x")
                except Unreachable:
                    break
            assert bob.refused[Reason.FLOOD]

    run(scenario)


def test_why_a_dial_fails(loopback: SimpleNamespace) -> None:
    async def scenario() -> None:
        async with loopback.linked(2) as (alice, bob):
            address = bob.addresses()[0]
            await alice._live.cut(bob.peer_id)
            await loopback.until(lambda: not alice.peers())
            port = address.split("/")[4]
            someone = alice.addresses()[0].split("/")[-1]
            other = address.replace(address.split("/")[-1], loopback_peer(loopback))
            for wrong, why in (
                (address.replace(port, "1"), "connection refused"),
                (other, "answers with another identity"),
                ("/ip4/127.0.0.1/tcp/4001", "bad address"),
                ("nonsense", "bad address"),
                (address.replace(address.split("/")[-1], someone), "our own address"),
                (
                    f"/ip4/127.0.0.1/tcp/9/p2p/{someone}/p2p-circuit/p2p/{loopback_peer(loopback)}",
                    "relay",
                ),
            ):
                with pytest.raises(Unreachable, match=why):
                    await alice.dial(wrong)
            assert await alice.dial(address) == bob.peer_id
            assert alice.known_addresses(bob.peer_id) == (address,)
            listener = await trio.open_tcp_listeners(0, host="127.0.0.1")
            silent = listener[0].socket.getsockname()[1]
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("gossamer_transport.libp2p.dial.DIAL_TIMEOUT_S", 0.3)
                with pytest.raises(Unreachable, match="timed out"):
                    await alice.dial(other.replace(port, str(silent)))
            await listener[0].aclose()

    run(scenario)


def test_a_timeout_that_is_only_mentioned_is_none() -> None:
    said = "protocols not supported: tried ['/yamux/1.0.0'], timeout=10s"
    assert why(MultiselectClientError(said)) == "no common protocol"
    for late in ("response timed out after 10s", "handshake read timeout"):
        assert why(MultiselectClientError(late)) == "timed out"
    assert why(SwarmException("Outbound muxer upgrade timeout exceeded for peer x")) == "timed out"


def test_a_dial_does_not_turn_hearsay_into_the_word_of_the_peer(loopback: SimpleNamespace) -> None:
    async def scenario() -> None:
        async with loopback.linked(2) as (alice, bob):
            (address,) = bob.addresses()
            assert alice.known_addresses(bob.peer_id) in ((), (address,))
            await alice._live.cut(bob.peer_id)
            await loopback.until(lambda: not alice.peers())
            alice.book.forget(bob.peer_id)
            own_word = "/dns/bob.example/tcp/1"
            alice.book.learn(bob.peer_id, own_word, Provenance.OWN_WORD)
            alice.add_addresses(bob.peer_id, [address])
            await alice.dial(address)
            first, second = alice.known_addresses(bob.peer_id)
            assert first.startswith(own_word)
            assert second == address
            await alice._live.cut(bob.peer_id)
            await loopback.until(lambda: not alice.peers())
            alice.book.learn(bob.peer_id, address, Provenance.OWN_WORD)
            alice.book.learn(bob.peer_id, own_word, Provenance.OWN_WORD)
            await alice.dial(address)  # and the peer's own word is confirmed by it
            assert alice.known_addresses(bob.peer_id)[0] == address

    run(scenario)


def loopback_peer(loopback: SimpleNamespace) -> str:
    from gossamer_crypto.identity import peer_id_text

    return peer_id_text(loopback.identity(77).peer_id)
