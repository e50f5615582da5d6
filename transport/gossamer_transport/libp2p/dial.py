"""One dial: from an address to a link, or to one line that says why there is none."""

from __future__ import annotations

import errno
import os
import re
import socket
from collections.abc import Iterator
from typing import Final

import trio
from libp2p.network.swarm import Swarm
from libp2p.protocol_muxer.exceptions import (
    MultiselectClientError,
    MultiselectError,
    ProtocolNotSupportedError,
)
from libp2p.security.noise.exceptions import PeerIDMismatchesPubkey
from multiaddr import Multiaddr

from gossamer_crypto.identity import PeerId
from gossamer_transport.address_book import Address, AddressError, parse_address
from gossamer_transport.errors import Unreachable
from gossamer_transport.libp2p.host import LiveHost
from gossamer_transport.libp2p.peer_ids import id_of

DIAL_TIMEOUT_S: Final = 15.0

_TOO_LATE = re.compile("timed out|read timeout|timeout exceeded", re.IGNORECASE)
_ERRNO_CAUSES: Final = {
    errno.ECONNREFUSED: "connection refused",
    errno.EHOSTUNREACH: "no route to host",
    errno.ENETUNREACH: "no route to host",
    errno.ETIMEDOUT: "timed out",
    errno.ECONNRESET: "connection reset",
}


def target(text: str) -> tuple[Address, PeerId]:
    """Return the address in `text` and who should answer there.

    Raises:
        Unreachable: "bad address", and what is wrong with it.
    """
    try:
        address = parse_address(text)
    except AddressError as error:
        raise Unreachable(f"bad address: {error.detail}") from None
    if address.peer is None:
        raise Unreachable("bad address: it does not end with /p2p/ and a peer id")
    return address, address.peer


async def dial(live: LiveHost, address: Address, peer: PeerId) -> None:
    """Connect to `peer` directly.

    Raises:
        Unreachable: with the cause in a few words.
    """
    network = live.host.get_network()
    assert isinstance(network, Swarm)
    try:
        with trio.fail_after(DIAL_TIMEOUT_S):
            await network.dial_addr(Multiaddr(str(address)), id_of(peer))
    except Exception as error:
        raise Unreachable(why(error)) from error


def why(error: BaseException) -> str:
    """Return the cause of a failed dial in a few words, from all that led to `error`."""
    chain = list(_chain(error))
    for each in chain:
        if isinstance(each, PeerIDMismatchesPubkey) or "Peer ID mismatch" in str(each):
            return "answers with another identity"
    for each in chain:
        if isinstance(each, socket.gaierror):
            return "the name does not resolve"
        if isinstance(each, OSError) and each.errno:
            return _ERRNO_CAUSES.get(each.errno, os.strerror(each.errno).lower())
    for each in chain:
        if isinstance(each, ProtocolNotSupportedError) or "not supported" in str(each):
            return "no common protocol"  # libp2p's text for it names a timeout too
        if isinstance(each, trio.TooSlowError) or _TOO_LATE.search(str(each)):
            return "timed out"
        if "connection refused:" in str(each):
            return "refused by ourselves: " + str(each).removeprefix("connection refused: ")
        if "Maximum connections" in str(each):
            return "too many links already"
        if "resolve" in str(each).lower():
            return "the name does not resolve"
    if any(isinstance(each, MultiselectError | MultiselectClientError) for each in chain):
        return "no common protocol, or it hung up"
    return "it hung up during the handshake"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        each = waiting.pop(0)
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        if isinstance(each, BaseExceptionGroup):
            waiting.extend(each.exceptions)
        waiting += [each.__cause__, each.__context__]
