"""One connection of the local API, as the HTTP server sees it.

hypercorn keeps the tasks of a connection until the keep-alive time is over, also when the client
has left, may close a stream while it is written to, and shields writing from being cancelled: a
client that reads nothing would hold its place, and the agent that wants to end, for ever. So it
gets this in place of a stream: `run` ends what serves the connection as soon as nothing more can
come of it and closes the socket under what still writes; that, and a client that takes nothing for
`WRITE_TIMEOUT_S`, is what hypercorn knows how to take: a broken connection.

hypercorn writes the head of an answer and its body one after the other. Each write wakes the
client, which then waits for the rest; `written_together` makes one write of them. `IdleClock` and
`ReadyLock` stand for two parts of hypercorn's server that cost turns of the event loop in each
request: a task that is started to end the connection when it is idle, and a lock.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from typing import Final

import trio

WRITE_TIMEOUT_S: Final = 60.0
_PART_BYTES: Final = 1 << 16
_serving: ContextVar[Connection | None] = ContextVar("_serving", default=None)


@asynccontextmanager
async def written_together() -> AsyncIterator[None]:
    """Hold back the first write to the connection that this task serves until the second."""
    connection = _serving.get()
    if connection is None:
        yield
        return
    connection.hold()
    try:
        yield
    finally:
        await connection.release()


class IdleClock:
    """Sets `ended` when a connection was idle for `seconds`; as hypercorn's `TrioSingleTask`."""

    def __init__(self, seconds: float, ended: trio.Event) -> None:
        self._seconds = seconds
        self._ended = ended
        self._scope = trio.CancelScope()

    async def run(self) -> None:
        """Until then."""
        with self._scope:
            await trio.sleep_forever()
        if self._scope.cancelled_caught:
            self._ended.set()

    async def restart(self, task_group: object, action: object) -> None:  # noqa: ARG002
        """The connection is idle from now on. What hypercorn would do at the end is done here."""
        self._scope.deadline = trio.current_time() + self._seconds

    async def stop(self) -> None:
        """It is not."""
        self._scope.deadline = math.inf


class ReadyLock:
    """A lock that is taken at once where it is free; trio's gives way to other tasks first."""

    def __init__(self) -> None:
        self._lock = trio.Lock()

    async def __aenter__(self) -> None:
        try:
            self._lock.acquire_nowait()
        except trio.WouldBlock:
            await self._lock.acquire()

    async def __aexit__(self, *_: object) -> None:
        self._lock.release()


class Connection:
    """A stream, as far as hypercorn uses one. idle_s: after which it is closed."""

    def __init__(self, stream: trio.SocketStream, idle_s: float = math.inf) -> None:
        self.socket = stream.socket
        self._stream = stream
        self._ended = trio.Event()
        self.idle = IdleClock(idle_s, self._ended)
        self._held: bytes | None = None  # b"" before the first write

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
            nursery.start_soon(self.idle.run)
            _serving.set(self)  # tasks that hypercorn starts from here on inherit it
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

    def hold(self) -> None:
        """Keep the next write until the one after it."""
        self._held = b""

    async def release(self) -> None:
        """Write what is still kept; a connection that is broken has its end elsewhere."""
        held, self._held = self._held, None
        if held:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await self._send(held)

    async def send_all(self, data: bytes) -> None:
        """As of a stream; BrokenResourceError also while it is being closed, or nobody reads."""
        if self._held == b"":
            self._held = data
            return
        held, self._held = self._held, None
        await self._send(held + data if held else data)

    async def _send(self, data: bytes) -> None:
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
