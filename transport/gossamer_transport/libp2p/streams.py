"""One stream of libp2p, with a timeout on every wait and one type of error.

Reading and writing go to the yamux stream itself: libp2p's `NetStream` around it takes a lock twice
per call, which is a tenth of the cost of bulk transfer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final, cast

import trio
from libp2p.abc import IMuxedStream, INetStream
from libp2p.network.stream.net_stream import NetStream
from libp2p.stream_muxer.exceptions import MuxedStreamEOF

CHUNK_BYTES: Final = 60_000
"""What is written at once: a yamux frame holds 64 KiB."""

STALL_S: Final = 20.0
"""A peer that takes or sends nothing for so long, when it should, loses the stream."""

READ_BYTES: Final = 256 * 1024
CLOSE_S: Final = 5.0


class StreamBrokenError(Exception):
    """The stream is of no more use: closed, reset, stalled. The text says which."""


@contextmanager
def moving_deadline(timeout_s: float = STALL_S) -> Iterator[Callable[[], None]]:
    """Yield a call that starts the timeout anew: cheaper than a timeout for each of many calls.

    Raises:
        StreamBrokenError: nobody called it for `timeout_s`.
    """
    with trio.CancelScope(deadline=trio.current_time() + timeout_s) as scope:

        def progress() -> None:
            scope.deadline = trio.current_time() + timeout_s

        yield progress
    if scope.cancelled_caught:
        raise StreamBrokenError("timed out")


async def read_now(stream: INetStream, size: int) -> bytes:
    """Return up to `size` bytes; none at the end of the stream. The caller limits the time."""
    try:
        return await _muxed(stream).read(size)
    except MuxedStreamEOF:
        return b""
    except Exception as error:
        raise StreamBrokenError("the stream was reset") from error


async def write_now(stream: INetStream, data: bytes) -> None:
    """Write `data`, one chunk; the caller limits the time."""
    try:
        await _muxed(stream).write(data)
    except Exception as error:
        raise StreamBrokenError("the stream was reset") from error


async def read_some(stream: INetStream, size: int, timeout_s: float = STALL_S) -> bytes:
    """Return up to `size` bytes, as soon as there are any; none at the end of the stream."""
    with moving_deadline(timeout_s):
        return await read_now(stream, size)


async def read_all(stream: INetStream, size: int, timeout_s: float = STALL_S) -> bytes:
    """Return exactly `size` bytes; the timeout is for all of them together."""
    data = bytearray()
    with moving_deadline(timeout_s):
        while len(data) < size:
            some = await read_now(stream, min(size - len(data), READ_BYTES))
            if not some:
                raise StreamBrokenError("the stream ended early")
            data += some
    return bytes(data)


async def write_all(stream: INetStream, data: bytes, timeout_s: float = STALL_S) -> None:
    """Write `data` in chunks; the timeout is for each."""
    with moving_deadline(timeout_s) as progress:
        for start in range(0, len(data), CHUNK_BYTES):
            await write_now(stream, data[start : start + CHUNK_BYTES])
            progress()


async def close(stream: INetStream) -> None:
    """Close `stream` for writing; the other side sees its end. Never raises."""
    await _quietly(stream.close)


async def reset(stream: INetStream) -> None:
    """Cut `stream` in both directions. Never raises, and works while being cancelled."""
    with trio.CancelScope(shield=True):
        await _quietly(stream.reset)


async def _quietly(action: Callable[[], Awaitable[None]]) -> None:
    with trio.move_on_after(CLOSE_S):
        try:
            await action()
        except Exception:
            return


def _muxed(stream: INetStream) -> IMuxedStream:
    return cast(NetStream, stream).muxed_stream
