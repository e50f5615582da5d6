"""The status socket `agent.sock` of a device folder: a question as one line, an answer as JSON.

Only the owner of the folder can connect (mode 0600). The socket file also says that an agent runs:
who finds one that answers must not start a second agent; one that nobody listens at was left behind
by an agent that was killed, and is replaced.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final, TypeAlias

import trio

from gossamer_agent.errors import AgentError
from gossamer_agent.ownersocket import listen_for_owner, short_path
from gossamer_transport.errors import NetworkError

FILE_NAME: Final = "agent.sock"
QUESTION_BYTES_MAX: Final = 64
ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024
QUESTION_TIMEOUT_S: Final = 5.0
ANSWER_TIMEOUT_S: Final = 10.0
CONVERSATIONS_MAX: Final = 16

Answers: TypeAlias = Mapping[str, Callable[[], Awaitable[bytes]]]
"""A question -> what makes its answer."""


class AlreadyRunningError(AgentError):
    """Another agent works in this folder."""


@asynccontextmanager
async def answering(folder: Path, answers: Answers) -> AsyncIterator[None]:
    """Answer questions at the folder's socket until the block ends; then the file is removed.

    Raises AlreadyRunningError when an agent answers there already, AgentError when there can be no
    socket.
    """
    listener = trio.SocketListener(_bind(folder))
    busy = trio.CapacityLimiter(CONVERSATIONS_MAX)

    async def converse(stream: trio.SocketStream) -> None:
        async with busy, stream:
            await _answer(stream, answers)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, converse, [listener])
        try:
            yield
        finally:
            # While we still listen: after that the name may be another agent's already.
            with suppress(OSError):
                (folder / FILE_NAME).unlink()
        nursery.cancel_scope.cancel()


def ask(folder: Path, question: str, timeout_s: float = ANSWER_TIMEOUT_S) -> bytes | None:
    """The answer of the agent that runs in `folder`; None when none runs. Blocks.

    Raises AgentError when it does not answer in time.
    """
    connection = _connect(folder, timeout_s)
    if connection is None:
        return None
    with connection:
        try:
            connection.sendall(question.encode() + b"\n")
            connection.shutdown(socket.SHUT_WR)
            return _read_all(connection)
        except OSError as error:
            raise AgentError(
                f"{folder}: the agent does not answer ({error}); is it stopped or overloaded?"
            ) from None


async def _answer(stream: trio.SocketStream, answers: Answers) -> None:
    """One conversation. Whoever hangs up or babbles ends it and nothing else; so does the agent
    that closes its network meanwhile.
    """
    with (
        suppress(trio.BrokenResourceError, trio.ClosedResourceError, NetworkError),
        trio.move_on_after(QUESTION_TIMEOUT_S + ANSWER_TIMEOUT_S),
    ):
        question = b""
        while not question.endswith(b"\n") and len(question) <= QUESTION_BYTES_MAX:
            more = await stream.receive_some(QUESTION_BYTES_MAX)
            if not more:
                return
            question += more
        answer = answers.get(question.decode("ascii", "replace").strip())
        if answer is not None:
            await stream.send_all(await answer())


def _bind(folder: Path) -> trio.socket.SocketType:
    other = _connect(folder, ANSWER_TIMEOUT_S)
    if other is not None:
        other.close()
        raise AlreadyRunningError(f"{folder}: an agent is already running here; stop it first")
    listening = listen_for_owner(folder / FILE_NAME, CONVERSATIONS_MAX)
    return trio.socket.from_stdlib_socket(listening)


def _connect(folder: Path, timeout_s: float) -> socket.socket | None:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout_s)
    try:
        with short_path(folder / FILE_NAME) as short:
            connection.connect(short)
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None
    except OSError as error:
        connection.close()
        raise AgentError(f"{folder / FILE_NAME}: {error.strerror or error}") from error
    return connection


def _read_all(connection: socket.socket) -> bytes:
    parts: list[bytes] = []
    size = 0
    while part := connection.recv(1 << 16):
        parts.append(part)
        size += len(part)
        if size > ANSWER_BYTES_MAX:
            raise OSError("an answer without end")
    return b"".join(parts)
