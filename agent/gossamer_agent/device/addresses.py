"""Addresses in a device's settings and invites: what can be listened at, what can be dialled.

    /ip4/0.0.0.0/tcp/4001                          where we listen; port 0 means any free one
    /dns4/garden.example/tcp/4001/p2p/12D3KooW...  what others dial

Which texts can be dialled is decided by `gossamer_transport.address_book`.
"""

from __future__ import annotations

import ipaddress
import re
import secrets
import socket
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

from gossamer_crypto.identity import PeerId
from gossamer_transport.address_book import Address, AddressError, parse_address

ADDRESS_CHARS_MAX: Final = 256

_LISTEN = re.compile(r"/(ip4|ip6)/([0-9A-Fa-f.:]{2,45})/tcp/([0-9]{1,5})")


def check_listen(text: str) -> None:
    """Raise ValueError unless an agent can listen at `text`: an IP address, any port."""
    _listener(text)


def check_dialable(text: str) -> None:
    """Raise ValueError unless others can dial `text`: a real host and a port above 0."""
    _parsed(text)


def check_relay(text: str) -> None:
    """Raise ValueError unless `text` names a relay: dialable, with its /p2p/ peer id."""
    address = _parsed(text)
    if address.peer is None or address.relay is not None:
        raise ValueError(f"{text!r:.80} names no relay: it must end in /p2p/ and its peer id")


def is_loopback(text: str) -> bool:
    """Whether only this machine reaches the dialable address `text`."""
    address = _parsed(text)
    return address.family in ("ip4", "ip6") and ipaddress.ip_address(address.host).is_loopback


def of_peer(text: str, peer: PeerId) -> str | None:
    """The dialable address `text` with the id of `peer` at its end; None if it is another's."""
    try:
        return str(_parsed(text).of(peer))
    except AddressError:
        return None


def without_peer(text: str) -> str:
    """The dialable address `text` without the id at its end, for where that is known anyway."""
    return str(replace(_parsed(text), peer=None))


def _parsed(text: str) -> Address:
    try:
        return parse_address(text)
    except AddressError as error:
        raise ValueError(
            f"{text!r:.80} cannot be dialled ({error.detail}); "
            "an address looks like /ip4/192.168.1.7/tcp/4001"
        ) from None


def _listener(text: str) -> tuple[str, str, int]:
    """Family, host and port of a text that passes `check_listen`."""
    match = _LISTEN.fullmatch(text)
    if match is not None and int(match[3]) <= 65535:
        with suppress(ValueError):
            if f"ip{ipaddress.ip_address(match[2]).version}" == match[1]:
                return match[1], match[2], int(match[3])
    raise ValueError(f"{text!r:.80} cannot be listened at; use one like /ip4/0.0.0.0/tcp/4001")


def dialable_for(listen: Iterable[str], own_hosts: Sequence[str]) -> tuple[str, ...]:
    """What others can dial while we listen at `listen`: wildcards become each of `own_hosts`.

    own_hosts: concrete IP texts. Addresses with port 0 are left out: only a running agent knows the
    port it was given.
    """
    found: list[str] = []
    for text in listen:
        family, host, port = _listener(text)
        hosts = [host]
        if ipaddress.ip_address(host).is_unspecified:
            hosts = [own for own in own_hosts if f"ip{ipaddress.ip_address(own).version}" == family]
        if port:
            found += [f"/{family}/{own}/tcp/{port}" for own in hosts]
    return without_loopback(found)


def without_loopback(addresses: Iterable[str]) -> tuple[str, ...]:
    """The dialable `addresses`, each once, without those of the loopback unless all are."""
    found = tuple(dict.fromkeys(addresses))
    return tuple(text for text in found if not is_loopback(text)) or found


def free_port() -> int:
    """A TCP port that nobody uses now, below those that the system hands out by itself.

    Kept in the settings, it gives a device an address that survives restarts.
    """
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as trial, suppress(OSError):
            trial.bind(("", port))
            return port


def own_hosts() -> list[str]:
    """The concrete IP addresses of this machine, IPv4 first; link-local ones are left out."""
    import ifaddr  # noqa: PLC0415  only an invite needs it

    found = []
    for adapter in ifaddr.get_adapters():
        for ip in adapter.ips:
            host = ip.ip if isinstance(ip.ip, str) else ip.ip[0]
            if not ipaddress.ip_address(host).is_link_local:
                found.append(host)
    return sorted(found, key=lambda host: ipaddress.ip_address(host).version)
