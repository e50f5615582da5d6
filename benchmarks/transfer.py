"""What bulk transfer costs over bare libp2p: `python benchmarks/transfer.py`.

One frame of 8 MiB at a time between two hosts in this process, over loopback: offered, pulled in
chunks, hashed, queued. Bare means: libp2p as it comes, unpatched, Noise and yamux, one stream,
60 kB per write, and a reader that drops what it reads. CPU time of this process, both ends; the
two take turns, so that a busy machine slows both, and the median of the ratios is what counts.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from statistics import median

import trio
from libp2p import new_host
from libp2p.abc import INetStream
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_x25519_key_pair
from libp2p.custom_types import TProtocol
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.protocol_muxer.multiselect_communicator import MultiselectCommunicator
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.stream_muxer.yamux.yamux import Yamux, YamuxStream
from multiaddr import Multiaddr

from gossamer_crypto.identity import Identity
from gossamer_transport.libp2p import Libp2pOptions, hardening, open_network
from gossamer_transport.limits import Limits

FRAME_BYTES = 8 * 1024 * 1024
FRAMES = 3
TURNS = 15
CHUNK_BYTES = 60_000
SINK = TProtocol("/benchmark/sink/1")
LOOPBACK = "/ip4/127.0.0.1/tcp/0"

Transfer = Callable[[bytes], Awaitable[None]]


def patched(on: bool) -> None:
    """Put the hardening of yamux on or take it off, for the connections made from now on."""
    hardening.install()
    if not on:
        delattr(YamuxStream, "send_window")  # an attribute of instances
        for owner in (Yamux, YamuxStream, MultiselectCommunicator):
            for name, function in hardening.REPLACED.items():
                if name.startswith(owner.__name__ + "."):
                    setattr(owner, name.partition(".")[2], function)


@asynccontextmanager
async def bare() -> AsyncIterator[Transfer]:
    hosts = []
    for _ in range(2):
        key_pair = create_new_key_pair()
        noise = NoiseTransport(key_pair, noise_privkey=create_x25519_key_pair().private_key)
        hosts.append(new_host(key_pair=key_pair, sec_opt={NOISE: noise}))
    sender, receiver = hosts

    async def sink(stream: INetStream) -> None:
        left = FRAME_BYTES
        while left:
            left -= len(await stream.read(CHUNK_BYTES))
        await stream.write(b"!")

    async def transfer(frame: bytes) -> None:
        stream = await sender.new_stream(receiver.get_id(), [SINK])
        for start in range(0, len(frame), CHUNK_BYTES):
            await stream.write(frame[start : start + CHUNK_BYTES])
        await stream.read(1)
        await stream.close()

    receiver.set_stream_handler(SINK, sink)
    address = Multiaddr(LOOPBACK)
    async with sender.run([address]), receiver.run([address]):
        await sender.connect(info_from_p2p_addr(receiver.get_addrs()[0]))
        yield transfer


@asynccontextmanager
async def ours() -> AsyncIterator[Transfer]:
    one, other = (Identity.generate() for _ in range(2))
    members = {one.peer_id, other.peer_id}
    options = Libp2pOptions(swarm_id=bytes(32), listen=(LOOPBACK,))
    async with (
        open_network(one, options, Limits(), members) as sender,
        open_network(other, options, Limits(), members) as receiver,
    ):

        async def transfer(frame: bytes) -> None:
            await sender.send(receiver.peer_id, frame)
            assert len((await receiver.receive()).frame) == len(frame)

        await sender.dial(receiver.addresses()[0])
        yield transfer


async def rate(transfer: Transfer) -> float:
    """Return the MB per CPU second of a few transfers."""
    frames = [os.urandom(FRAME_BYTES) for _ in range(FRAMES)]
    await transfer(os.urandom(FRAME_BYTES))
    begin = time.process_time()
    for frame in frames:
        await transfer(frame)
    return FRAMES * FRAME_BYTES / 1e6 / (time.process_time() - begin)


async def main() -> None:
    pairs = []
    for _ in range(TURNS):
        patched(False)
        async with bare() as transfer:
            bare_rate = await rate(transfer)
        patched(True)
        async with ours() as transfer:
            pairs.append((await rate(transfer), bare_rate))
    ratio = median(one / other for one, other in pairs)
    print("| | MB per CPU second | of bare libp2p, target 80 % |")
    print("|---|---:|---:|")
    print(f"| bare libp2p | {median(rate for _, rate in pairs):.0f} | |")
    print(f"| gossamer | {median(rate for rate, _ in pairs):.0f} | {ratio:.0%} |")


if __name__ == "__main__":
    trio.run(main)
