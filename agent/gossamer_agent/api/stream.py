"""One connection of the local API, as the HTTP server sees it.

hypercorn keeps the tasks of a connection until the keep-alive time is over, also when the client
has left, and may close a stream while it is written to. So it gets this in place of a stream: `run`
ends what serves the connection as soon as nothing more can come of it, and writing to a stream that
is being closed is what hypercorn knows how to take: a broken connection.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio


class Connection:
    """A stream, as far as hypercorn uses one."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.socket = stream.socket
        self._stream = stream
        self._ended = trio.Event()

    async def run(self, serve: Callable[[Connection], Awaitable[None]]) -> None:
        """Serve the connection until the client has left or was sent away."""
        async with trio.open_nursery() as nursery:

            async def end() -> None:
                await self._ended.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(end)
            await serve(self)
            nursery.cancel_scope.cancel()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """As of a stream."""
        try:
            received = await self._stream.receive_some(max_bytes)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._ended.set()
            raise
        if not received:
            self._ended.set()
        return received

    async def send_all(self, data: bytes) -> None:
        """As of a stream; BrokenResourceError also while it is being closed."""
        try:
            await self._stream.send_all(data)
        except trio.BusyResourceError:
            raise trio.BrokenResourceError("the connection is being closed") from None

    async def send_eof(self) -> None:
        """As of a stream."""
        await self._stream.send_eof()

    async def aclose(self) -> None:
        """As of a stream."""
        await self._stream.aclose()
