"""Patches of py-libp2p, each against an attack or a stall that was measured, for one version of it.

What cannot be done by a subclass is done here, and nowhere else. `tests/libp2p/test_hardening.py`
holds the SHA-256 of the source of everything that is replaced or overridden: it fails when libp2p
changes underneath, and then each patch must be read again.

    read_capped          a peer that ignores the yamux window may fill 8 MiB, then loses the link;
                         all peers together may fill 24 MiB, then who has filled most loses it
    write_whole_frames   a cancelled writer must not leave half a frame, which garbles all others
    write_in_window      a reader that pauses for 5 s is slow, not gone; and half of the locks less
    grant_window         windows grow to 1 MiB, not to twice of what a connection may buffer; and
                         one update per half a window, not per read
    set_send_window      a writer wakes when the window opens
    watch_liveness       a silent peer loses its link after at most 36 s; libp2p's own monitor asks
                         one peer after the other, so that a few silent ones blind it
    read_short_line      before authentication, multistream-select would buffer whatever is sent
    take_identify        what a peer says of itself is kept for a thousand peers: it must be little
    agent_version        identify says gossamer
    own_logger           libp2p writes to the root logger, which installs a handler on stderr
"""

from __future__ import annotations

import importlib.metadata
import logging
import os
import struct
from collections.abc import Callable
from typing import Any, Final
from weakref import WeakSet

import trio
from libp2p.abc import IPeerStore
from libp2p.exceptions import ParseError
from libp2p.host import basic_host
from libp2p.identity.identify import identify
from libp2p.identity.identify.pb.identify_pb2 import Identify
from libp2p.identity.identify_push import identify_push
from libp2p.identity.update import update_peerstore_from_identify
from libp2p.io.exceptions import IOException
from libp2p.network.connection import swarm_connection
from libp2p.network.connection.exceptions import RawConnError
from libp2p.peer.id import ID
from libp2p.protocol_muxer.exceptions import MultiselectCommunicatorError
from libp2p.protocol_muxer.multiselect_communicator import MultiselectCommunicator
from libp2p.stream_muxer.exceptions import MuxedStreamError
from libp2p.stream_muxer.yamux.yamux import (
    FLAG_SYN,
    HEADER_SIZE,
    MAX_MESSAGE_SIZE,
    TYPE_DATA,
    TYPE_PING,
    YAMUX_HEADER_FORMAT,
    Yamux,
    YamuxStream,
)
from libp2p.utils.varint import read_varint_prefixed_bytes_limited

from gossamer_crypto.errors import Reason
from gossamer_transport.errors import NetworkError

PINNED: Final = "0.8.1"

RECEIVE_BYTES_MAX: Final = 8 * 1024 * 1024
"""What one connection may buffer, summed over its streams."""

ALL_RECEIVE_BYTES_MAX: Final = 24 * 1024 * 1024
"""What all connections may buffer together."""

SMALL_BYTES: Final = 512 * 1024
"""A connection that buffers less is not asked to make room, nor slowed down by counting."""

WRITE_TIMEOUT_S: Final = 20.0
"""A peer that takes no byte for so long loses the link."""

WINDOW_TIMEOUT_S: Final = 20.0
"""A peer that reads nothing for so long loses the stream."""

WINDOW_BYTES_MAX: Final = 1024 * 1024
ASSUMED_ROUND_TRIP_S: Final = 0.001
WINDOW_POLL_S: Final = 0.25  # to see that the stream was closed meanwhile

PING_INTERVAL_S: Final = 10.0
PING_TIMEOUT_S: Final = 25.0
"""A peer that sends neither data nor an answer for so long is gone. A loop that is blocked for
less is merely slow."""

ABORT_TIMEOUT_S: Final = 2.0
LINE_BYTES_MAX: Final = 1024
IDENTIFY_ADDRESSES_MAX: Final = 16
IDENTIFY_PROTOCOLS_MAX: Final = 64
IDENTIFY_FIELD_BYTES_MAX: Final = 128
AGENT_VERSION: Final = "gossamer/0.1"

log = logging.getLogger("gossamer.transport")

_receiving: WeakSet[Yamux] = WeakSet()


class ReceiveCapError(trio.TooSlowError):
    """The peer sent more than we granted. yamux closes the connection for this type only."""


def install() -> None:
    """Apply all patches, once. Raises NetworkError for another version of libp2p."""
    check_version(importlib.metadata.version("libp2p"))
    for owner, name, replacement in PATCHES:
        setattr(owner, name, replacement)
    if "LIBP2P_DEBUG" not in os.environ:
        # Hostile peers cause errors there by the thousand; ours are counted by reason instead.
        logging.getLogger("libp2p").setLevel(logging.CRITICAL)


def check_version(version: str) -> None:
    """Raise NetworkError unless `version` is the pinned one."""
    if version != PINNED:
        raise NetworkError(
            f"libp2p {version} is installed, but this release works with {PINNED} only: "
            f"pip install libp2p=={PINNED}"
        )


async def abort(connection: Yamux) -> None:
    """Close the socket under `connection` without a word: a farewell would wait for the peer."""
    with trio.CancelScope(shield=True), trio.move_on_after(ABORT_TIMEOUT_S):
        try:
            await connection.secured_conn.close()
        except Exception as error:
            log.debug("closing a connection failed: %r", error)


def on_violation(connection: Yamux, report: Callable[[Reason], None]) -> None:
    """Call `report` when the peer of `connection` breaks the rules of yamux."""
    connection.__dict__["gossamer_report"] = report


async def _read_capped(self: Yamux, length: int) -> bytes:
    held = _buffered(self) + length
    _receiving.add(self)
    if held > RECEIVE_BYTES_MAX:
        _report_flood(self)
        raise ReceiveCapError
    if held > SMALL_BYTES:
        await _make_room(self, length)
    body: bytes = await _original_read(self, length)
    self.__dict__["gossamer_heard_at"] = trio.current_time()
    return body


async def _make_room(asking: Yamux, length: int) -> None:
    """Cut those who have filled most until there is room for `length` bytes more. Who reads what it
    is sent buffers next to nothing, so it is not the honest ones that go.
    """
    while True:
        held = {each: _buffered(each) for each in _receiving if not each.event_closed.is_set()}
        if sum(held.values()) + length <= ALL_RECEIVE_BYTES_MAX:
            return
        fattest = max(held, key=held.__getitem__)
        _receiving.discard(fattest)
        _report_flood(fattest)
        if fattest is asking:
            raise ReceiveCapError
        await abort(fattest)


def _buffered(connection: Yamux) -> int:
    return sum(map(len, connection.stream_buffers.values()))


def _report_flood(connection: Yamux) -> None:
    report = connection.__dict__.get("gossamer_report")
    if report is not None:
        report(Reason.FLOOD)


async def _write_whole_frames(self: Yamux, data: bytes) -> None:
    async with self._write_lock:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + WRITE_TIMEOUT_S) as scope:
            await self.secured_conn.write(data)
        if scope.cancelled_caught:
            await abort(self)
            raise RawConnError("the peer takes no data")


async def _write_in_window(self: YamuxStream, data: bytes) -> None:
    """Nothing is awaited between looking at the window and taking of it, so no lock is needed."""
    sent = 0
    while sent < len(data):
        if self.send_closed or self.closed:
            raise MuxedStreamError("the stream is closed for sending")
        size = min(self.send_window, MAX_MESSAGE_SIZE - HEADER_SIZE, len(data) - sent)
        if size <= 0:
            await _window(self)
            continue
        self.send_window -= size
        header = struct.pack(YAMUX_HEADER_FORMAT, 0, TYPE_DATA, 0, self.stream_id, size)
        await self.conn._write_frame(header + data[sent : sent + size])
        sent += size


async def _window(stream: YamuxStream) -> None:
    deadline = trio.current_time() + WINDOW_TIMEOUT_S
    while stream.send_window <= 0 and not (stream.closed or stream.send_closed):
        if trio.current_time() >= deadline:
            raise MuxedStreamError("the peer grants no window")
        granted = stream.__dict__["gossamer_granted"] = trio.Event()
        with trio.move_on_after(WINDOW_POLL_S):
            await granted.wait()


def _get_send_window(self: YamuxStream) -> int:
    window: int = self.__dict__["send_window"]
    return window


def _set_send_window(self: YamuxStream, window: int) -> None:
    """Wake the writer; libp2p looks every 10 ms, which limits the rate and costs wake-ups."""
    self.__dict__["send_window"] = window
    granted = self.__dict__.get("gossamer_granted")
    if granted is not None and window > 0:
        granted.set()


async def _grant_window(self: YamuxStream, *, bytes_read: int = 0) -> None:  # noqa: ARG001
    """As yamux of Go: give back what was read once that is half of the window; double the window
    while that happens within four round trips. Nothing is awaited in between, so no lock is needed.
    """
    buffered = len(self.conn.stream_buffers.get(self.stream_id, b""))
    grant = self.target_recv_window - self.recv_window - buffered
    if 2 * grant < self.target_recv_window:
        return
    now = trio.current_time()
    if now - self.epoch_start < 4 * (self.conn.rtt() or ASSUMED_ROUND_TRIP_S):
        grown = min(2 * self.target_recv_window, WINDOW_BYTES_MAX) - self.target_recv_window
        self.target_recv_window += grown
        grant += grown
    self.epoch_start = now
    self.recv_window += grant
    await self.send_window_update(grant)


async def _watch_liveness(self: Yamux) -> None:
    """In place of the task that measures the round trip every 30 s and ignores silence."""
    await trio.sleep(0.5)
    while not self.event_shutting_down.is_set():
        asked_at = trio.current_time()
        answered = False
        with trio.move_on_after(PING_TIMEOUT_S):
            await _ping(self)
            answered = True
        if not answered and self.__dict__.get("gossamer_heard_at", 0.0) < asked_at:
            log.info("a peer is silent: link closed")
            await abort(self)
            return
        with trio.move_on_after(PING_INTERVAL_S):
            await self.event_shutting_down.wait()


async def _ping(connection: Yamux) -> None:
    connection._ping_id = (connection._ping_id + 1) & 0xFFFFFFFF
    connection._ping_event = trio.Event()
    number = connection._ping_id
    # Set before writing too: the answer may overtake the return of the write.
    connection._ping_sent_time = trio.current_time()
    try:
        await connection._write_frame(
            struct.pack(YAMUX_HEADER_FORMAT, 0, TYPE_PING, FLAG_SYN, 0, number)
        )
    except (RawConnError, IOException):
        return  # the reader of this connection notices on its own
    await connection._ping_event.wait()


async def _read_short_line(self: MultiselectCommunicator) -> str:
    try:
        line = await read_varint_prefixed_bytes_limited(self.read_writer, LINE_BYTES_MAX)
        text = line.decode()
    except (ParseError, IOException, ValueError) as error:
        raise MultiselectCommunicatorError("fail to read from multiselect communicator") from error
    if not text.endswith("\n"):
        raise MultiselectCommunicatorError("not a line")
    return text[:-1]


async def _take_identify(peerstore: IPeerStore, peer_id: ID, said: Identify) -> None:
    bounds: tuple[tuple[Any, int], ...] = (
        (said.listen_addrs, IDENTIFY_ADDRESSES_MAX),
        (said.protocols, IDENTIFY_PROTOCOLS_MAX),
    )
    for field, count_max in bounds:
        kept = [each for each in field[:count_max] if len(each) <= IDENTIFY_FIELD_BYTES_MAX]
        del field[:]
        field.extend(kept)
    said.ClearField("signedPeerRecord")
    await _original_take(peerstore, peer_id, said)


REPLACED: Final[dict[str, Any]] = {
    function.__qualname__: function
    for function in (
        Yamux._read_data_body,
        Yamux._write_frame,
        Yamux._measure_rtt_loop,
        YamuxStream.write,
        YamuxStream._auto_tune_and_send_window_update,
        MultiselectCommunicator.read,
        update_peerstore_from_identify,
    )
}
"""libp2p's own functions, by name."""

_original_read: Any = REPLACED["Yamux._read_data_body"]
_original_take: Any = REPLACED["update_peerstore_from_identify"]

PATCHES: Final[tuple[tuple[Any, str, Any], ...]] = (
    (Yamux, "_read_data_body", _read_capped),
    (Yamux, "_write_frame", _write_whole_frames),
    (Yamux, "_measure_rtt_loop", _watch_liveness),
    (YamuxStream, "write", _write_in_window),
    (YamuxStream, "send_window", property(_get_send_window, _set_send_window)),
    (YamuxStream, "_auto_tune_and_send_window_update", _grant_window),
    (MultiselectCommunicator, "read", _read_short_line),
    (basic_host, "update_peerstore_from_identify", _take_identify),
    (identify_push, "update_peerstore_from_identify", _take_identify),
    (identify, "AGENT_VERSION", AGENT_VERSION),
    (swarm_connection, "logging", logging.getLogger("libp2p.network.connection")),
)
