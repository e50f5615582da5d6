"""One connection of the local API, as the HTTP server sees it.

hypercorn keeps the tasks of a connection until the keep-alive time is over, also when the client
has left, may close a stream while it is written to, and shields writing from being cancelled: a
client that reads nothing would hold its place, and the agent that wants to end, for ever. So it
gets this in place of a stream: `run` ends what serves the connection as soon as nothing more can
come of it and closes the socket under what still writes; that, and a client that takes nothing for
`WRITE_TIMEOUT_S`, is what hypercorn knows how to take: a broken connection.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import trio

WRITE_TIMEOUT_S: Final = 60.0
_PART_BYTES: Final = 1 << 16


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
                try:
                    await self._ended.wait()
                finally:
                    self.socket.close()
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
        """As of a stream; BrokenResourceError also while it is being closed, or nobody reads."""
        try:
            for start in range(0, len(data), _PART_BYTES):
                with trio.fail_after(WRITE_TIMEOUT_S):
                    await self._stream.send_all(data[start : start + _PART_BYTES])
        except trio.BusyResourceError:
            raise trio.BrokenResourceError("the connection is being closed") from None
        except trio.TooSlowError:
            self._ended.set()
            raise trio.BrokenResourceError("the client does not read") from None

    async def send_eof(self) -> None:
        """As of a stream."""
        await self._stream.send_eof()

    async def aclose(self) -> None:
        """As of a stream."""
        await self._stream.aclose()
