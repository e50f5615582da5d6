"""Answers to libp2p's pings, at a bounded rate.

libp2p answers as fast as it is asked, and one stranger can keep a core busy with that.
"""

from __future__ import annotations

from typing import Final

import trio
from libp2p.abc import INetStream
from libp2p.peer.id import ID

from gossamer_transport.libp2p import streams
from gossamer_transport.libp2p.bucket import Buckets

PROTOCOL: Final = "/ipfs/ping/1.0.0"
PING_BYTES: Final = 32
PINGS_PER_S: Final = 20.0
PINGS_BURST: Final = 50.0
"""Of one peer, whatever number of streams it uses; more are answered later."""

IDLE_S: Final = 60.0


class Pings:
    """Answers pings; `answer` is the handler of a stream."""

    def __init__(self) -> None:
        self._buckets: Buckets[ID] = Buckets(PINGS_PER_S, PINGS_BURST)

    async def answer(self, stream: INetStream) -> None:
        """Send back every 32 bytes, until the peer ends it or is silent for `IDLE_S`.

        Raises:
            StreamBrokenError: it is silent, or the stream was reset.
        """
        peer = stream.muxed_conn.peer_id
        while True:
            payload = await streams.read_all(stream, PING_BYTES, IDLE_S)
            while not self._buckets.take(peer, trio.current_time()):  # noqa: ASYNC110  time fills it
                await trio.sleep(1 / PINGS_PER_S)
            with streams.moving_deadline():
                await streams.write_now(stream, payload)
