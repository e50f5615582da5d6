"""Everything that passes between two agents on the wire: TCP relays that keep a copy."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress


class Wiretap:
    """Relays in front of ports, and the bytes of each direction of each connection.

    relay: returns the port that leads to `port`; the same one each time.
    """

    def __init__(self) -> None:
        self._taps: dict[int, int] = {}
        self._listeners: list[socket.socket] = []
        self._connections: list[socket.socket] = []
        self._copies: list[bytearray] = []

    def relay(self, port: int) -> int:
        if port not in self._taps:
            listener = socket.create_server(("127.0.0.1", 0))
            self._listeners.append(listener)
            self._taps[port] = listener.getsockname()[1]
            threading.Thread(target=self._accept, args=(listener, port), daemon=True).start()
        return self._taps[port]

    def captured(self) -> list[bytes]:
        """What went by, one item for each direction of each connection."""
        return [bytes(copy) for copy in self._copies]

    def close(self) -> None:
        for each in (*self._listeners, *self._connections):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self, listener: socket.socket, port: int) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", port))
            except OSError:
                client.close()
                continue
            self._connections += [client, server]
            for source, sink in ((client, server), (server, client)):
                copy = bytearray()
                self._copies.append(copy)
                arguments = (source, sink, copy)
                threading.Thread(target=_carry, args=arguments, daemon=True).start()


def _carry(source: socket.socket, sink: socket.socket, copy: bytearray) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            copy += data
            sink.sendall(data)
    for each in (source, sink):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


@contextmanager
def wiretap() -> Iterator[Wiretap]:
    """Listen in until the block ends."""
    tap = Wiretap()
    try:
        yield tap
    finally:
        tap.close()


def markers_in(captured: Iterable[bytes], markers: dict[str, bytes]) -> set[str]:
    """Names of the markers that an eavesdropper would find, whole or a piece of 16 bytes of it."""
    streams = list(captured)
    return {
        name
        for name, marker in markers.items()
        if any(piece in stream for piece in pieces(marker) for stream in streams)
    }


def pieces(marker: bytes, size: int = 16, at_most: int = 64) -> list[bytes]:
    """The marker itself if it is short, else pieces of it; none of which is a run of one byte."""
    if len(marker) <= size:
        return [marker]
    step = max(1, (len(marker) - size) // at_most)
    found = [marker[at : at + size] for at in range(0, len(marker) - size, step)]
    return [piece for piece in found if len(set(piece)) > 4]
