"""Where peers may be dialled: checked multiaddrs, a bounded number of them, the best ones first.

Theory of operation. `parse_address` is the only way in. It accepts TCP over IPv4, IPv6 or a DNS
name, as such or through a relay, and writes every address in one form, so that two spellings do
not take two places. `AddressBook` ranks what it holds: what a peer said itself above hearsay, later
above earlier. Both kinds have places that the other cannot take: whoever spreads rumours about a
peer does not push out its own word, and a peer that moved while it was away can still be found by
what others see of it. Time is a counter, not a clock: small devices boot in 1970.

An address is a hint and nothing more. Who answers there must prove to be the peer.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final

from gossamer_crypto.errors import IdentityError, PeerError, Reason
from gossamer_crypto.identity import PEER_ID_BYTES, PeerId, parse_peer_id, peer_id_text

ADDRESS_BYTES_MAX: Final = 256
ADDRESSES_PER_PEER_MAX: Final = 8
PEERS_MAX: Final = 1024

_PLACES = {1: 2, 2: 6}  # of one peer's eight, by provenance: the other kind cannot take them
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", re.ASCII)
_PORT = re.compile(r"[1-9][0-9]{0,4}", re.ASCII)
_DNS = ("dns", "dns4", "dns6")


class AddressError(PeerError):
    """A text is not an address that we dial. The only type that `parse_address` raises."""


class Provenance(IntEnum):
    """Who says so. The order is the rank."""

    HEARSAY = 1  # another peer, mDNS or a DHT
    OWN_WORD = 2  # the peer itself, authenticated; the user's own configuration counts as such


@dataclass(frozen=True, slots=True)
class Address:
    """A checked address: `host` and `port` of a TCP listener, and who is behind it.

    `family` is ip4, ip6, dns, dns4 or dns6. With `relay` the listener is that peer, which carries
    the connection on to `peer`. `str` gives the one spelling.
    """

    family: str
    host: str
    port: int
    peer: PeerId | None = None
    relay: PeerId | None = None

    def __str__(self) -> str:
        text = f"/{self.family}/{self.host}/tcp/{self.port}"
        if self.relay is not None:
            text += f"/p2p/{peer_id_text(self.relay)}/p2p-circuit"
        return text if self.peer is None else f"{text}/p2p/{peer_id_text(self.peer)}"

    def of(self, peer: PeerId) -> Address:
        """Return this address with `peer` at its end.

        Raises:
            AddressError: it is the address of another peer, or too long with the peer id.
        """
        if self.peer not in (None, peer) or self.relay == peer:
            raise AddressError(Reason.BAD_KEY, "the address of another peer")
        whole = replace(self, peer=peer)
        if len(str(whole)) > ADDRESS_BYTES_MAX:
            raise AddressError(Reason.TOO_LARGE, "an address has at most 256 bytes")
        return whole


def parse_address(text: str) -> Address:
    """Read a multiaddr `/ip4|ip6|dns|dns4|dns6/<host>/tcp/<port>` with the ends that we know.

    These are `/p2p/<peer>` and `/p2p/<relay>/p2p-circuit`, the latter with or without a
    `/p2p/<peer>` behind it.

    Raises:
        AddressError: it has more than 256 bytes, or is anything else, or cannot be dialled (port 0,
            an unspecified or multicast IP).
    """
    if len(text) > ADDRESS_BYTES_MAX:  # in characters: all that follow are ASCII
        raise AddressError(Reason.TOO_LARGE, "an address has at most 256 bytes")
    match text.split("/"):
        case ["", family, host, "tcp", port]:
            return _listener(family, host, port)
        case ["", family, host, "tcp", port, "p2p", peer]:
            return replace(_listener(family, host, port), peer=_peer(peer))
        case ["", family, host, "tcp", port, "p2p", relay, "p2p-circuit"]:
            return replace(_listener(family, host, port), relay=_peer(relay))
        case ["", family, host, "tcp", port, "p2p", relay, "p2p-circuit", "p2p", peer]:
            address = replace(_listener(family, host, port), relay=_peer(relay))
            return address.of(_peer(peer))
        case _:
            raise AddressError(Reason.BAD_FRAME, "not an address of the kinds that we dial")


def _listener(family: str, host: str, port: str) -> Address:
    if not _PORT.fullmatch(port) or int(port) > 65535:
        raise AddressError(Reason.BAD_FRAME, "not a TCP port that can be dialled")
    if family in _DNS:
        return Address(family, _name(host), int(port))
    if family not in ("ip4", "ip6"):
        raise AddressError(Reason.BAD_FRAME, "neither an IP address nor a DNS name")
    try:
        ip = ipaddress.IPv4Address(host) if family == "ip4" else ipaddress.IPv6Address(host)
    except ValueError:
        raise AddressError(Reason.BAD_FRAME, "not an IP address") from None
    if ip.is_unspecified or ip.is_multicast or "%" in host:
        raise AddressError(Reason.BAD_FRAME, "nobody can be reached at this IP address")
    return Address(family, str(ip), int(port))


def _name(name: str) -> str:
    name = name.lower()
    if not all(_LABEL.fullmatch(part) for part in name.split(".")):
        raise AddressError(Reason.BAD_FRAME, "not a DNS name")
    return name


def _peer(text: str) -> PeerId:
    try:
        return parse_peer_id(text)
    except IdentityError as error:
        raise AddressError(Reason.BAD_KEY, error.detail) from None


@dataclass(frozen=True, slots=True)
class _Entry:
    order: int
    provenance: Provenance
    address: str


class AddressBook:
    """Up to 8 addresses of each of up to 1024 peers, never of `own`.

    When it is full, a peer known by its own word takes the place of the one that was heard of
    longest ago, known by hearsay if there is one; a peer known by hearsay takes the place of such
    a one only.
    """

    __slots__ = ("_entries", "_order", "_own")

    def __init__(self, own: PeerId) -> None:
        self._own = own
        self._entries: dict[PeerId, list[_Entry]] = {}  # who was heard of last comes last
        self._order = 0

    def learn(self, peer: PeerId, text: str, provenance: Provenance) -> bool:
        """Note an address of `peer`; True if it is one that was not known and has found a place.

        Raises:
            AddressError: `parse_address` refuses `text`, or it names another peer.
        """
        address = str(parse_address(text).of(peer))
        if peer == self._own or not self._make_room(peer, provenance):
            return False
        self._order += 1
        entries = self._entries.pop(peer, [])  # put back at the end: the dict is in this order
        known = next((entry for entry in entries if entry.address == address), None)
        if known is not None:  # hearsay does not take back a peer's own word, but confirms it
            provenance = max(provenance, known.provenance)
        others = [entry for entry in entries if entry is not known]
        self._entries[peer] = _best([_Entry(self._order, provenance, address), *others])
        return known is None and address in self.addresses(peer)

    def learn_all(self, peer: PeerId, texts: Iterable[str], provenance: Provenance) -> int:
        """Note the first 8 of `texts`, best first, without what `learn` refuses; return how many
        are new.
        """
        new = 0
        for text in reversed([text for _, text in zip(range(8), texts, strict=False)]):
            try:
                new += self.learn(peer, text, provenance)
            except AddressError:
                continue
        return new

    def addresses(self, peer: PeerId) -> tuple[str, ...]:
        """Return what is known of `peer`: its own word before hearsay, the newest first.

        Each text ends with `/p2p/<peer>`.
        """
        return tuple(entry.address for entry in self._entries.get(peer, ()))

    def peers(self) -> tuple[PeerId, ...]:
        """Return the peers with an address, in PeerId order."""
        return tuple(sorted(self._entries))

    def forget(self, peer: PeerId) -> None:
        """Drop what is known of `peer`, if anything is."""
        self._entries.pop(peer, None)

    def snapshot(self) -> dict[bytes, bytes]:
        """Return one row per peer: its id, and UTF-8 lines `order provenance address`."""
        return {
            bytes(peer): "\n".join(
                f"{entry.order} {entry.provenance:d} {entry.address}" for entry in entries
            ).encode()
            for peer, entries in self._entries.items()
        }

    def restore(self, rows: Iterable[tuple[bytes, bytes]]) -> int:
        """Learn what `snapshot` returned; what is damaged is left out. Return how many lines were.

        The book is a cache: without a row we wait for the peer to be heard of again.
        """
        lines = [(peer, line) for peer, row in rows for line in row.split(b"\n")]
        parsed = [entry for peer, line in lines if (entry := _parse_line(peer, line))]
        learnt = 0
        for _, provenance, peer, address in sorted(parsed):
            try:
                self.learn(peer, address, provenance)
                learnt += 1
            except AddressError:
                continue
        return len(lines) - learnt

    def _make_room(self, peer: PeerId, provenance: Provenance) -> bool:
        if peer in self._entries or len(self._entries) < PEERS_MAX:
            return True
        heard_of = (known for known, kept in self._entries.items() if _is_hearsay(kept))
        worst = next(heard_of, None)
        if worst is None and provenance is Provenance.HEARSAY:
            return False
        del self._entries[worst if worst is not None else next(iter(self._entries))]
        return True


def _is_hearsay(entries: list[_Entry]) -> bool:
    return entries[0].provenance is Provenance.HEARSAY  # the best one is the first


def _best(entries: list[_Entry]) -> list[_Entry]:
    ranked = sorted(entries, key=lambda entry: (-entry.provenance, -entry.order))
    kinds = {kind: [entry for entry in ranked if entry.provenance == kind] for kind in Provenance}
    kept = [entry for kind, kin in kinds.items() for entry in kin[: _PLACES[kind]]]
    spare = [entry for entry in ranked if entry not in kept]
    kept += spare[: ADDRESSES_PER_PEER_MAX - len(kept)]
    return [entry for entry in ranked if entry in kept]


def _parse_line(peer: bytes, line: bytes) -> tuple[int, Provenance, PeerId, str] | None:
    try:
        order, provenance, address = line.decode("ascii").split(" ")
        if len(peer) != PEER_ID_BYTES or not order.isdecimal() or len(order) > 18:
            return None
        return int(order), Provenance(int(provenance)), PeerId(peer), address
    except ValueError:
        return None
