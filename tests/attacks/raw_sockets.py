"""Attacks with bare TCP sockets, which never prove who they are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import trio
from honest_pair import Target

HALF_OPEN = 500
DRIBBLERS = 100


@asynccontextmanager
async def half_open_connections(target: Target) -> AsyncIterator[None]:
    """Five hundred sockets on which nothing is ever said."""
    async with AsyncExitStack() as stack:
        for _ in range(HALF_OPEN):
            await stack.enter_async_context(await trio.open_tcp_stream("127.0.0.1", target.port))
        yield


@asynccontextmanager
async def slow_handshakes(target: Target) -> AsyncIterator[None]:
    """Handshakes that come a byte each half second."""
    async with AsyncExitStack() as stack, trio.open_nursery() as nursery:
        for _ in range(DRIBBLERS):
            stream = await trio.open_tcp_stream("127.0.0.1", target.port)
            await stack.enter_async_context(stream)
            nursery.start_soon(_dribble, stream)
        yield
        nursery.cancel_scope.cancel()


async def _dribble(stream: trio.SocketStream) -> None:
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        for byte in b"\x13/multistream/1.0.0\n\x07/noise\n" + b"\xff" * 1000:
            await stream.send_all(bytes([byte]))
            await trio.sleep(0.5)


@asynccontextmanager
async def megabytes_before_the_handshake(target: Target) -> AsyncIterator[None]:
    """A line of 256 MB, and an HTTP request for good measure."""
    async with AsyncExitStack() as stack:
        for start in (b"\xff\xff\xff\x7f", b"GET / HTTP/1.1\r\n\r\n"):
            stream = await trio.open_tcp_stream("127.0.0.1", target.port)
            await stack.enter_async_context(stream)
            with suppress(trio.BrokenResourceError), trio.move_on_after(15):
                await stream.send_all(start)
                for _ in range(256):
                    await stream.send_all(bytes(1 << 20))
        yield
