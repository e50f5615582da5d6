"""Serves the local API from inside the agent: hypercorn's HTTP on trio, one task per connection.

Theory of operation. Sockets are opened here, because a Unix socket must be private from its first
moment. Each connection is a task of its own that can fail alone: a fault of the HTTP stack costs
that connection and a line in the log, never the agent. Connections are few: one that comes when
all places are taken is closed at once. The HTTP stack is imported with the first connection, so an
agent that nobody asks does not pay for it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import trio

from gossamer_agent.api.backend import Backend
from gossamer_agent.api.listening import Listening
from gossamer_agent.api.stream import Connection, ReadyLock

if TYPE_CHECKING:
    from starlette.types import ASGIApp

log = logging.getLogger("gossamer.api")

CONNECTIONS_MAX: Final = 32
KEEP_ALIVE_S: Final = 60.0
READ_TIMEOUT_S: Final = 90
"""A connection that is silent for so long within a request is closed."""
HEAD_BYTES_MAX: Final = 16 * 1024
REQUESTS_MAX: Final = 100_000
"""Of one connection."""

Converse = Callable[[trio.SocketStream], Any]


async def serve(listening: Listening, backend: Backend, *, token: str, body_bytes_max: int) -> None:
    """Answer until cancelled; then the socket is closed and its file removed."""
    conversing: list[Converse] = []
    loading = trio.Lock()
    open_connections = 0

    async def converse(stream: trio.SocketStream) -> None:
        async with loading:
            if not conversing:
                make = partial(_conversing, listening, backend, token, body_bytes_max)
                conversing.append(await trio.to_thread.run_sync(make))
        await conversing[0](stream)

    async def handle(stream: trio.SocketStream) -> None:
        nonlocal open_connections
        if open_connections >= CONNECTIONS_MAX:
            await stream.aclose()
            return
        open_connections += 1
        try:
            await _contained(converse, stream)
        finally:
            open_connections -= 1
            with trio.move_on_after(1) as scope:
                scope.shield = True
                await stream.aclose()

    try:
        own = listening.socket.dup()  # the listener closes its own
        own.setblocking(False)
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(own))
        await trio.serve_listeners(handle, [listener])
    finally:
        listening.close()


async def _contained(converse: Converse, stream: trio.SocketStream) -> None:
    """One connection: what goes wrong in it ends it alone."""
    try:
        await converse(stream)
    except Exception:
        log.exception("a connection to the local API failed")
    except BaseExceptionGroup as group:
        cancelled, rest = group.split(trio.Cancelled)
        if rest is not None:
            log.exception("a connection to the local API failed", exc_info=rest)
        if cancelled is not None:
            raise cancelled from None


def _conversing(
    listening: Listening, backend: Backend, token: str, body_bytes_max: int
) -> Converse:
    """Import the HTTP stack and put it together. Takes a while; call it in a thread."""
    from hypercorn.app_wrappers import ASGIWrapper  # noqa: PLC0415
    from hypercorn.config import Config  # noqa: PLC0415
    from hypercorn.trio.tcp_server import TCPServer  # noqa: PLC0415
    from hypercorn.trio.worker_context import WorkerContext  # noqa: PLC0415
    from hypercorn.typing import ConnectionState  # noqa: PLC0415

    from gossamer_agent.api.app import make_app  # noqa: PLC0415
    from gossamer_agent.api.guard import Guard  # noqa: PLC0415

    config = Config()
    config.errorlog = log
    config.loglevel = "WARNING"
    config.include_server_header = False
    config.keep_alive_timeout = KEEP_ALIVE_S
    config.keep_alive_max_requests = REQUESTS_MAX
    config.read_timeout = READ_TIMEOUT_S
    config.h11_max_incomplete_size = HEAD_BYTES_MAX
    config.h2_max_header_list_size = HEAD_BYTES_MAX
    # One request at a time, as in HTTP/1: bodies are held in memory, so connections bound them.
    config.h2_max_concurrent_streams = 1
    app: ASGIApp = Guard(
        make_app(backend), token=token, hosts=listening.hosts, body_bytes_max=body_bytes_max
    )
    # Starlette and hypercorn write the same ASGI types differently.
    wrapped, context = ASGIWrapper(cast(Any, app)), WorkerContext(None)

    async def converse(stream: trio.SocketStream) -> None:
        async def talk(connection: Connection) -> None:
            made = TCPServer(wrapped, config, context, ConnectionState({}), cast(Any, connection))
            made.idle_task = cast(Any, connection.idle)
            made.send_lock = cast(Any, ReadyLock())
            await made

        await Connection(stream, KEEP_ALIVE_S).run(talk)

    return converse
