"""A Unix socket in a device's folder that only its owner can connect to."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from gossamer_agent.errors import AgentError

_UNIX_BYTES_MAX: Final = 100


def listen_for_owner(path: Path, backlog: int) -> socket.socket:
    """Listen at `path` (mode 0600), without blocking, in place of a stale socket.

    The caller knows that nobody listens there. Raises AgentError, one line.
    """
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        mask = os.umask(0o177)  # the file must never be open to others, not even for a moment
        try:
            with short_path(path) as short:
                listening.bind(short)
        finally:
            os.umask(mask)
        listening.listen(backlog)
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        raise AgentError(f"{path}: cannot be made: {error.strerror}") from error
    except BaseException:
        listening.close()
        raise
    return listening


def _remove_stale(path: Path) -> None:
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise AgentError(f"{path}: is not a socket; move it away")
        path.unlink()


@contextmanager
def short_path(path: Path) -> Iterator[str]:
    """A name of `path` that fits into the 108 bytes of a Unix address, while the block runs."""
    name = str(path)
    if len(os.fsencode(name)) < _UNIX_BYTES_MAX:
        yield name
        return
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{path.name}"
    finally:
        os.close(descriptor)
