"""Finding members on the local network by multicast DNS, on the named interfaces only. Opt-in.

Theory of operation. `zeroconf` does the protocol in threads of its own (libp2p's own discovery
binds every interface). We announce one service of type `_gossamer._udp.local.` whose TXT record
holds the swarm's prefix, the peer id and the addresses on these interfaces, and hear of others.
Whoever is on the local network can write such records, so they are hints: of bounded number and
size, read by one strict function, and only then handed to the trio thread through a bounded queue.
What goes out is seen by everyone there: a peer id, the first 8 bytes of the swarm id, addresses.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Final

import ifaddr
import trio
from libp2p.abc import IHost
from zeroconf import Error as ZeroconfError
from zeroconf import IPVersion, ServiceInfo, ServiceListener, Zeroconf

from gossamer_crypto.errors import IdentityError
from gossamer_crypto.identity import PeerId, parse_peer_id
from gossamer_transport.address_book import AddressError, parse_address
from gossamer_transport.errors import NetworkError
from gossamer_transport.libp2p.options import Libp2pOptions

log = logging.getLogger("gossamer.transport")

SERVICE_TYPE: Final = "_gossamer._udp.local."
FOUND_PER_MINUTE_MAX: Final = 60
RETRY_S: Final = 30.0
BROWSE_S: Final = 300.0

Found = Callable[[PeerId, Sequence[str]], None]
Service = Callable[[IHost], AbstractAsyncContextManager[None]]

_ADDRESSES_MAX = 8
_TXT_BYTES_MAX = 252  # one string of a TXT record has 255, three are taken by the key
_LOOKUP_MS = 1000
_QUEUE = 64


def mdns_service(options: Libp2pOptions, found: Found) -> Service:
    """Return a service that announces a host and calls `found` with the others of its swarm.

    `options.mdns_interfaces` names interfaces (`eth0`) or IPv4 addresses of such; None or empty is
    no service at all. An interface without an address is waited for. `found` is called in the trio
    thread, with addresses that `parse_address` accepts; they are hearsay.

    The service raises NetworkError on entry if an interface does not exist.
    """

    @asynccontextmanager
    async def serve(host: IHost) -> AsyncIterator[None]:
        names = options.mdns_interfaces
        if not names:
            yield
            return
        _interface_ips(names)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_run, host, names, options.swarm_id.hex()[:16], found)
            try:
                yield
            finally:
                nursery.cancel_scope.cancel()

    return serve


async def _run(host: IHost, names: Sequence[str], swarm: str, found: Found) -> None:
    while True:
        try:
            ips = _interface_ips(names)
            if ips:
                await _announce_and_browse(host, ips, swarm, found)
        except (OSError, NetworkError, ZeroconfError) as error:  # the interface went away, mostly
            log.info("mDNS is off for a while: %s", error)
        await trio.sleep(RETRY_S)


async def _announce_and_browse(host: IHost, ips: list[str], swarm: str, found: Found) -> None:
    send, receive = trio.open_memory_channel[tuple[PeerId, tuple[str, ...]]](_QUEUE)
    own = host.get_id().to_string()
    token = trio.lowlevel.current_trio_token()

    def deliver(peer: PeerId, addresses: tuple[str, ...]) -> None:
        with suppress(trio.WouldBlock, trio.BrokenResourceError, trio.ClosedResourceError):
            send.send_nowait((peer, addresses))

    def heard(peer: PeerId, addresses: tuple[str, ...]) -> None:  # in zeroconf's thread
        with suppress(trio.RunFinishedError):
            token.run_sync_soon(deliver, peer, addresses)

    zeroconf = await trio.to_thread.run_sync(_open, ips)
    listener = _Listener(swarm, parse_peer_id(own), heard)
    try:
        zeroconf.add_service_listener(SERVICE_TYPE, listener)
        info = _announcement(own, swarm, _listening(host, ips), ips)
        # Two hosts of one identity in a row must not wait for the first one's record to expire.
        register = functools.partial(zeroconf.register_service, cooperating_responders=True)
        await trio.to_thread.run_sync(register, info)
        while True:
            with trio.move_on_after(BROWSE_S):
                async for peer, addresses in receive:
                    found(peer, addresses)
            # Hear of all again: of those that were too many before, and of what is still there.
            await trio.to_thread.run_sync(zeroconf.add_service_listener, SERVICE_TYPE, listener)
    finally:
        send.close()
        listener.closed = True
        with trio.CancelScope(shield=True):  # says goodbye and ends the threads: about 0.5 s
            await trio.to_thread.run_sync(zeroconf.close)


def _open(ips: list[str]) -> Zeroconf:
    return Zeroconf(interfaces=list(ips), ip_version=IPVersion.V4Only)


def _interface_ips(names: Sequence[str]) -> list[str]:
    """Return the IPv4 addresses of the interfaces; NetworkError: a name that nothing here has."""
    by_name: dict[str, list[str]] = {}
    for adapter in ifaddr.get_adapters(include_unconfigured=True):
        ips = [str(ip.ip) for ip in adapter.ips if ip.is_IPv4]
        by_name.setdefault(adapter.name, []).extend(ips)
    present = {ip for ips in by_name.values() for ip in ips}
    chosen: dict[str, None] = {}
    for name in names:
        if name in by_name:
            chosen.update(dict.fromkeys(by_name[name]))
        elif _is_ip4(name):
            chosen.update(dict.fromkeys({name} & present))
        else:
            known = ", ".join(sorted(by_name))
            raise NetworkError(f"no network interface {name!r} for mdns; there are {known}")
    return list(chosen)


def _is_ip4(text: str) -> bool:
    with suppress(AddressError):
        return parse_address(f"/ip4/{text}/tcp/1").family == "ip4"
    return False


def _listening(host: IHost, ips: Sequence[str]) -> tuple[str, ...]:
    """Return where `host` listens on the interfaces with `ips`."""
    texts: dict[str, None] = {}
    for bound in host.get_transport_addrs():
        match str(bound).split("/")[:5]:
            case ["", "ip4", "0.0.0.0", "tcp", port]:  # noqa: S104 - it is compared
                texts.update({f"/ip4/{ip}/tcp/{port}": None for ip in ips})
            case ["", "ip4", ip, "tcp", port] if ip in ips:
                texts[f"/ip4/{ip}/tcp/{port}"] = None
    return tuple(texts)[:_ADDRESSES_MAX]


def _announcement(
    own: str, swarm: str, addresses: Sequence[str], ips: Sequence[str]
) -> ServiceInfo:
    txt = {"v": "1", "swarm": swarm, "id": own}
    txt |= {f"a{number}": text for number, text in enumerate(addresses)}
    port = int(addresses[0].rpartition("/")[2]) if addresses else 0
    return ServiceInfo(
        SERVICE_TYPE,
        f"{own}.{SERVICE_TYPE}",
        port=port,
        properties=txt,
        server=f"{own}.local.",
        parsed_addresses=list(ips),
    )


def read_announcement(
    txt: Mapping[bytes, bytes | None], swarm: str
) -> tuple[PeerId, tuple[str, ...]] | None:
    """Return who announces itself and where, or None if that is not one of `swarm`."""
    if txt.get(b"v") != b"1" or txt.get(b"swarm") != swarm.encode():
        return None
    try:
        peer = parse_peer_id((txt.get(b"id") or b"").decode("ascii"))
    except (IdentityError, ValueError):
        return None
    addresses = []
    for number in range(_ADDRESSES_MAX):
        with suppress(AddressError, ValueError):
            raw = txt.get(f"a{number}".encode()) or b""
            if len(raw) <= _TXT_BYTES_MAX:
                addresses.append(str(parse_address(raw.decode("ascii")).of(peer)))
    return (peer, tuple(addresses)) if addresses else None


class _Listener(ServiceListener):
    """Hears of records in zeroconf's thread; hands on the good ones, a bounded number a minute."""

    def __init__(
        self, swarm: str, own: PeerId, heard: Callable[[PeerId, tuple[str, ...]], None]
    ) -> None:
        self._swarm = swarm
        self._own = own
        self._heard = heard
        self._times: deque[float] = deque(maxlen=FOUND_PER_MINUTE_MAX)
        self._lock = threading.Lock()
        self.closed = False  # then what is still queued is not looked up: closing waits for it

    def add_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        try:
            peer = parse_peer_id(name.removesuffix("." + SERVICE_TYPE))
            if self.closed or peer == self._own or not self._may_look():
                return
            info = ServiceInfo(type_, name)
            if info.load_from_cache(zc) or info.request(zc, _LOOKUP_MS):
                announced = read_announcement(info.properties, self._swarm)
                if announced is not None and announced[0] == peer:
                    self._heard(*announced)
        except IdentityError:
            return
        except Exception as error:  # whatever a foreign record can cause, and closing
            log.debug("mDNS record not read: %r", error)

    def update_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        self.add_service(zc, type_, name)

    def remove_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        """Who says goodbye stays known: the book forgets the oldest."""

    def _may_look(self) -> bool:
        """Count one lookup, if this minute has one left."""
        with self._lock:
            now = time.monotonic()
            if len(self._times) == FOUND_PER_MINUTE_MAX and now - self._times[0] < 60:
                return False
            self._times.append(now)
            return True
