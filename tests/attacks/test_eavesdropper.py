"""Who sees every byte between two agents learns nothing; nor does an invite, or who was evicted."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial

import pytest
import trio
from honest_pair import SWARM_NAME, HonestPair, honest_pair, new_keys
from libp2p.abc import INetStream
from libp2p.pubsub.pb import rpc_pb2
from libp2p.utils.varint import read_varint_prefixed_bytes
from strangers import MESHSUB, connect, plain_host, run, subscription
from wiretap import Wiretap, markers_in, wiretap

from gossamer_agent.models import load_learner
from gossamer_crypto.envelope import MAGIC, Envelope, Kind, open_envelope
from gossamer_crypto.epoch import wrap_info
from gossamer_crypto.errors import EnvelopeError, EpochError
from gossamer_crypto.keyfile import Keys
from gossamer_crypto.roster import parse_roster_entry
from gossamer_crypto.wrap import unwrap_secret
from gossamer_transport.libp2p import gossip_topic
from gossamer_transport.wire import EntryFrame, RosterFrame, pack_frame, unpack_control

pytestmark = [
    pytest.mark.slow,
    # Plain hosts leave sockets open when their peer hangs up on them.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
ROUNDS = 8


@pytest.fixture(scope="module")
def tapped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[HonestPair, Wiretap]]:
    """A pair that knows of each other only the ports of the tap."""
    with wiretap() as tap, honest_pair(tmp_path_factory.mktemp("tapped"), tap.relay) as pair:
        for agent in (pair.steward, pair.member):
            begun = agent.status().rounds
            agent.until(lambda found, begun=begun: found.rounds >= begun + ROUNDS)  # type: ignore[misc]
        yield pair, tap


def secrets_of(pair: HonestPair) -> dict[str, bytes]:
    """What must not be seen, by a name for it."""
    device, ring = pair.steward.device(), pair.ring()
    found = {
        "swarm name": SWARM_NAME.encode(),
        "swarm id": device.genesis.swarm_id,
        "topic": gossip_topic(device.genesis.swarm_id).encode(),
        "genesis": device.genesis.pack(),
        "magic of entries": MAGIC,
        "name of a protocol": b"/gossamer/",
        "steward": pair.peers[0],
        "member": pair.peers[1],
        "parameters": load_learner("mlp-wide").init().tobytes(),
    }
    for agent in (pair.steward, pair.member):
        for entry in pair.stored_entries(agent):
            name = f"{agent.name} {entry.header.kind.name} {entry.header.seq}"
            secret = ring.archived(entry.header.epoch)
            assert secret is not None
            found[f"body of {name}"] = open_envelope(entry, secret)
            found[f"entry {name}"] = entry.ciphertext
            found[f"header {name}"] = entry.head.header_bytes
    return found


def test_the_wire_shows_nothing(tapped: tuple[HonestPair, Wiretap]) -> None:
    pair, tap = tapped
    secrets = secrets_of(pair)
    deltas = [body for name, body in secrets.items() if Kind.DELTA.name in name]
    assert len(deltas) > 2 * ROUNDS
    captured = tap.captured()
    assert sum(map(len, captured)) > sum(map(len, deltas)) / 4, "the tap was not in between"
    assert any(b"/noise" in stream for stream in captured)
    assert markers_in(captured, secrets) == set()


def test_the_same_search_finds_everything_in_plaintext(
    tapped: tuple[HonestPair, Wiretap],
) -> None:
    pair, _ = tapped
    secrets = secrets_of(pair)
    entries = pair.stored_entries(pair.steward) + pair.stored_entries(pair.member)
    said = [pack_frame(EntryFrame(entry)) for entry in entries] + list(secrets.values())
    with wiretap() as tap, socket.create_server(("127.0.0.1", 0)) as server:
        port = tap.relay(server.getsockname()[1])
        threading.Thread(target=_swallow, args=(server,), daemon=True).start()
        with socket.create_connection(("127.0.0.1", port)) as client:
            for data in said:
                client.sendall(data)
            deadline = time.monotonic() + 20
            while sum(map(len, tap.captured())) < sum(map(len, said)):
                assert time.monotonic() < deadline
                time.sleep(0.02)
        assert secrets.keys() - markers_in(tap.captured(), secrets) == set()


def _swallow(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        while connection.recv(1 << 16):
            pass


def test_no_link_goes_round_the_tap(tapped: tuple[HonestPair, Wiretap]) -> None:
    pair, tap = tapped
    fronts = {tap.relay(pair.steward.port), tap.relay(pair.member.port)}
    for agent in (pair.steward, pair.member):
        status = agent.status()
        assert status.linked == 1
        assert {int(address.split("/")[4]) for address in status.addresses} <= fronts


def test_an_invite_opens_nothing(tapped: tuple[HonestPair, Wiretap]) -> None:
    """Not with what it holds, what can be hashed from it, what passed on the wire, nor what the
    swarm's gossip tells to whoever listens.
    """
    pair, tap = tapped
    invite, keys = pair.invite(), new_keys()
    gossip = run(partial(overhear, pair))
    assert len(gossip) > 3, "a guest hears gossip"
    parts = [invite.token, invite.token_id, invite.swarm_id, *invite.stewards, b""]
    candidates = {hashlib.sha256(part).digest() for part in parts}
    for text in (invite.text().encode(), b"".join(parts), *gossip, *tap.captured()):
        candidates |= {text[at : at + 32].ljust(32, b"\0") for at in range(min(len(text), 2000))}
    candidates |= {each for frame in gossip for each in unwrapped(frame, keys)}

    entries = pair.stored_entries(pair.member)[-2:]
    assert len(entries) == 2
    assert not [entry for entry in entries if opens(entry, candidates)]
    secret = pair.ring().secret(entries[-1].header.epoch)
    assert secret is not None
    assert opens(entries[-1], {secret}), "with the secret of the epoch it does open"


async def overhear(pair: HonestPair) -> list[bytes]:
    """The frames that are published while a guest listens, an epoch's announcement among them."""
    heard: list[bytes] = []

    async def listen(stream: INetStream) -> None:
        with suppress(Exception):
            while True:
                raw = await read_varint_prefixed_bytes(stream)
                heard.extend(message.data for message in rpc_pb2.RPC.FromString(raw).publish)

    async with plain_host() as host:
        host.set_stream_handler(MESHSUB, listen)
        peer = await connect(host, pair.target)
        stream = await host.new_stream(peer, [MESHSUB])
        await stream.write(subscription(pair.target))
        pair.rotate()
        with trio.fail_after(20):
            while not any(is_roster(frame) for frame in heard):  # noqa: ASYNC110
                await trio.sleep(0.1)
    return heard


def is_roster(frame: bytes) -> bool:
    return isinstance(unpack_control(frame), RosterFrame)


def unwrapped(frame: bytes, keys: Keys) -> list[bytes]:
    """What a stranger's keys make of the secrets that are wrapped in a roster entry."""
    control = unpack_control(frame)
    found: list[bytes] = []
    if isinstance(control, RosterFrame):
        entry = parse_roster_entry(control.raw)
        for member, wrapped in entry.wraps.items():
            info = wrap_info(entry.swarm, entry.epoch, member, entry.prev)
            with suppress(EpochError):
                found.append(unwrap_secret(wrapped, keys.prekeys[0], info))
    return found


def opens(entry: Envelope, secrets: Iterable[bytes]) -> bool:
    """Whether any of these is the secret under which the entry was sealed."""
    for secret in secrets:
        with suppress(EnvelopeError):
            open_envelope(entry, secret)
            return True
    return False
