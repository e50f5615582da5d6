"""Where the local API is listened at: a Unix socket of the owner, or a loopback port; the token."""

from __future__ import annotations

import os
import secrets
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gossamer_agent.errors import AgentError, ConfigError
from gossamer_agent.ownersocket import listen_for_owner
from gossamer_agent.store.replacing import sync_folder

SOCKET_NAME: Final = "api.sock"
OFF: Final = "off"
UNIX: Final = "unix"
BACKLOG: Final = 32
_TOKEN_BYTES_MAX: Final = 256


@dataclass(frozen=True, slots=True)
class Listening:
    """An open socket. hosts: what clients may call it in Host; () for a Unix socket. path: of that
    socket, to be removed at the end.
    """

    socket: socket.socket
    hosts: tuple[str, ...]
    path: Path | None

    def close(self) -> None:
        """Stop listening; the file goes first, as its name may be another agent's after that."""
        if self.path is not None:
            with suppress(OSError):
                self.path.unlink()
        self.socket.close()


def listen(folder: Path, where: str) -> Listening | None:
    """Open what the settings name; None for "off". Raises AgentError."""
    if where == OFF:
        return None
    return _listen_unix(folder) if where == UNIX else _listen_port(where)


def port_of(where: str) -> tuple[str, int]:
    """Host and port of "127.0.0.1:8780" or "[::1]:8780". Raises ConfigError."""
    host, _, port = where.rpartition(":")
    if host not in ("127.0.0.1", "[::1]") or not port.isdecimal():
        raise ConfigError(f"[api] listen: {where!r:.60} is no loopback address")
    return host.strip("[]"), int(port)


def read_token(path: Path) -> str:
    """The token in a file. Raises ConfigError."""
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    if not 16 <= len(text) <= _TOKEN_BYTES_MAX or not text.isprintable() or " " in text:
        raise ConfigError(
            f"{path}: holds no token of 16 to {_TOKEN_BYTES_MAX} characters; remove it, and the"
            " agent makes a new one"
        )
    return text


def make_token(path: Path) -> str:
    """The token in a file, which is made, 0600, if there is none. Raises ConfigError.

    It gets its name when it is whole: an agent that is killed meanwhile leaves no half of one.
    """
    if path.exists():
        return read_token(path)
    temporary = path.with_name(f"{path.name}.new")
    try:
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w", encoding="ascii") as file:  # noqa: PTH123  a descriptor
            file.write(secrets.token_urlsafe(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be made: {error.strerror}") from None
    return read_token(path)


def _listen_unix(folder: Path) -> Listening:
    path = folder / SOCKET_NAME
    # The status socket says that no other agent works here, so what is left is stale.
    return Listening(listen_for_owner(path, BACKLOG), (), path)


def _listen_port(where: str) -> Listening:
    host, port = port_of(where)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        raise AgentError(f"[api] listen: {where} cannot be listened at: {error.strerror}") from None
    port = listening.getsockname()[1]
    names = (f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}")
    return Listening(listening, names, None)
