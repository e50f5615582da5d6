"""libp2p's connection switch, with doors: who gets in, and that one socket costs one socket.

`Doors` decide before the handshake, the `admit` callback after it, when the peer's identity is
proved.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final
from weakref import WeakKeyDictionary, WeakSet

import trio
from libp2p.abc import IMuxedConn, INetConn
from libp2p.io.abc import ReadWriteCloser
from libp2p.network.auto_connector import AutoConnector
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.network.connection.swarm_connection import SwarmConn
from libp2p.network.exceptions import SwarmException
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from libp2p.rcmgr import Direction
from libp2p.stream_muxer.yamux.yamux import Yamux
from multiaddr import Multiaddr

from gossamer_crypto.errors import Reason
from gossamer_crypto.identity import PeerId
from gossamer_transport.libp2p import hardening
from gossamer_transport.libp2p.doors import Doors
from gossamer_transport.libp2p.peer_ids import peer_of

CLOSING_S: Final = 3.0

log = logging.getLogger("gossamer.transport")

Admit = Callable[[PeerId, bool], Reason | None]
Refuse = Callable[[PeerId | None, Reason], None]


class GuardedSwarm(Swarm):
    """libp2p's connection switch with a door that silent sockets cannot block."""

    def __init__(self, admit: Admit, refuse: Refuse, **settings: Any) -> None:
        super().__init__(**settings)
        self._doors = Doors()
        self._handshakes: dict[int, trio.CancelScope] = {}
        self._admit = admit
        self._refuse = refuse
        self._sockets: WeakSet[Yamux] = WeakSet()
        self.linked_at: WeakKeyDictionary[INetConn, float] = WeakKeyDictionary()
        self.auto_connector = _NoAutoConnector(self)

    async def hang_up(self) -> None:
        """Close all sockets at once; libp2p says farewell on each in turn, 0.2 s apart, and leaves
        open those that were being closed when it is cancelled.
        """
        with trio.CancelScope(shield=True), trio.move_on_after(CLOSING_S):
            async with trio.open_nursery() as nursery:
                for listener in self.listeners.values():
                    nursery.start_soon(listener.close)
            async with trio.open_nursery() as nursery:
                for muxed in list(self._sockets):
                    nursery.start_soon(hardening.abort, muxed)

    async def _handle_inbound_connection(
        self, read_write_closer: ReadWriteCloser, maddr: Multiaddr
    ) -> None:
        """Upgrade one accepted socket. It is closed when this returns.

        The original keeps one of `max_connections` slots for every socket it ever accepted.
        """
        address = (read_write_closer.get_remote_address() or ("", 0))[0]
        number, dropped = self._doors.enter(address)
        if dropped is not None:
            self._handshakes.pop(dropped).cancel()
            self._refuse(None, Reason.FLOOD)
        muxed: IMuxedConn | None = None
        with trio.CancelScope() as scope:
            self._handshakes[number] = scope
            try:
                raw = RawConnection(read_write_closer, False)
                muxed = await self.upgrade_inbound_raw_conn(raw, maddr)
            except Exception as error:
                log.debug("handshake failed: %r", error)
            finally:
                self._handshakes.pop(number, None)
                self._doors.leave(number)
        if isinstance(muxed, Yamux):
            await muxed.event_closed.wait()

    async def add_conn(self, muxed_conn: IMuxedConn, direction: str = "unknown") -> SwarmConn:
        """Register a connection whose peer is authenticated, if `admit` lets it in."""
        peer = peer_of(muxed_conn.peer_id)
        outbound = direction == "outbound"
        reason = Reason.BAD_KEY if peer is None else self._admit(peer, outbound)
        if reason is not None:
            if not outbound:
                self._refuse(peer, reason)
            if isinstance(muxed_conn, Yamux):
                await hardening.abort(muxed_conn)
            raise SwarmException(f"connection refused: {reason}")
        if isinstance(muxed_conn, Yamux):
            self._replace_older(muxed_conn.peer_id, direction)
            self._sockets.add(muxed_conn)
            hardening.on_violation(muxed_conn, lambda why: self._refuse(peer, why))
        connection = await super().add_conn(muxed_conn, direction)
        self.linked_at[connection] = trio.current_time()
        return connection

    def _replace_older(self, libp2p_id: ID, direction: str) -> None:
        """Close what a new connection stands for: a peer that dials twice has lost its first link,
        whatever we know of that. Two that dial each other at once keep both.
        """
        for connection in self.get_connections(libp2p_id):
            muxed = connection.muxed_conn
            same = getattr(connection, "direction", None) == Direction.from_string(direction)
            if same and isinstance(muxed, Yamux):
                self.manager.run_task(hardening.abort, muxed)


class _NoAutoConnector(AutoConnector):
    """libp2p would dial whatever address a peer ever claimed for anybody; our dialer decides."""

    async def maybe_connect(self) -> None:
        await trio.lowlevel.checkpoint()

    def record_disconnect(self, peer_id: ID) -> None:
        """Remember nobody: what would forget them again is what `maybe_connect` leaves out."""
