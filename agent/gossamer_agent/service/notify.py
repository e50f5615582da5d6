"""What a service tells its manager: systemd's notification protocol, without its library.

One datagram of lines NAME=VALUE to the Unix socket that the environment names; the manager never
answers. Source: sd_notify(3), sd_watchdog_enabled(3).
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Final, Self

_SOCKET: Final = "NOTIFY_SOCKET"
_WATCHDOG: Final = "WATCHDOG_USEC"
_WATCHDOG_PID: Final = "WATCHDOG_PID"
_STATUS_CHARS_MAX: Final = 200
_WATCHDOG_S_MAX: Final = 86_400.0


class Notifier:
    """A service manager that listens, or nobody.

    address: a path, or "@" and a name in the abstract namespace; None: nobody listens.
    watchdog_s: it ends us after so long without `alive`; None where it does not watch.
    """

    def __init__(self, address: str | None = None, watchdog_s: float | None = None) -> None:
        self.watchdog_s = watchdog_s
        self._address = address
        self._status = ""

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str]) -> Self:
        """What systemd said when it started us; taken out of `environ`, for our children's sake.

        A value that makes no sense counts as absent: a service must not fail for that.
        """
        address = environ.pop(_SOCKET, "")
        microseconds = environ.pop(_WATCHDOG, "")
        pid = environ.pop(_WATCHDOG_PID, str(os.getpid()))
        watchdog_s: float | None = None
        if microseconds.isascii() and microseconds.isdigit() and pid == str(os.getpid()):
            watchdog_s = min(int(microseconds[:20]) / 1e6, _WATCHDOG_S_MAX) or None
        if address[:1] not in ("/", "@") or len(os.fsencode(address)) > 107:
            return cls()
        return cls(address, watchdog_s)

    @property
    def heard(self) -> bool:
        """Whether anybody listens."""
        return self._address is not None

    def ready(self) -> None:
        """The service works now."""
        self._send("READY=1")

    def status(self, text: str) -> None:
        """What `systemctl status` shows; one line, sent when it changed."""
        text = "".join(letter if letter.isprintable() else " " for letter in text)
        if text[:_STATUS_CHARS_MAX] != self._status:
            self._status = text[:_STATUS_CHARS_MAX]
            self._send(f"STATUS={self._status}")

    def alive(self) -> None:
        """Feed the watchdog."""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """The service is about to end by its own will."""
        self._send("STOPPING=1")

    def _send(self, line: str) -> None:
        if self._address is None:
            return
        # A leading NUL is how the kernel spells the abstract namespace.
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.setblocking(False)  # a manager that does not read must not stop the agent
            with suppress(OSError):
                sender.sendto(line.encode(), address)
