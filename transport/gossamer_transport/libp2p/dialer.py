"""The dialer: keeps links to members, as many as are wanted. The decisions are `dialing`'s."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol

import numpy as np
import trio

from gossamer_crypto.identity import PeerId
from gossamer_transport.address_book import AddressBook
from gossamer_transport.dialing import Attempt, DialSchedule
from gossamer_transport.errors import NetworkError

POLL_S: Final = 1.0
DIAL_S_MAX: Final = 30.0  # one address, whatever the network's own timeouts are


class Dialling(Protocol):
    """What the dialer needs of a network."""

    __slots__ = ()

    @property
    def peer_id(self) -> PeerId:
        """The own identity."""
        ...

    def peers(self) -> tuple[PeerId, ...]:
        """Return the members with a link now. NetworkError: the network is closed."""
        ...

    async def dial(self, address: str) -> PeerId:
        """Return who answered at `address`. NetworkError: why nobody did, in one line."""
        ...


class Dialer:
    """Dials the addresses in `book` of those `members` that have no link.

    `members` is asked every second and may yield the own id. `want` is the number of links above
    which nobody is dialled; others may still dial us.
    """

    def __init__(
        self,
        network: Dialling,
        book: AddressBook,
        members: Callable[[], Iterable[PeerId]],
        rng: np.random.Generator,
        want: int = 24,
    ) -> None:
        self._network = network
        self._book = book
        self._members = members
        self._schedule = DialSchedule(rng, want=want)

    def failures(self) -> Mapping[PeerId, str]:
        """Return, of every member without a link, why its last attempt failed (one line)."""
        return self._schedule.failures()

    async def run(self, prefer: Callable[[], Iterable[PeerId]] = tuple) -> None:
        """Dial until cancelled, or until the network is closed.

        `prefer`, asked every second, yields those who are dialled first and whatever `want` says;
        links to them are not counted.
        """
        async with trio.open_nursery() as nursery:
            while True:
                try:
                    linked = self._network.peers()
                except NetworkError:
                    nursery.cancel_scope.cancel()
                    return
                members = [peer for peer in self._members() if peer != self._network.peer_id]
                now = trio.current_time()
                preferred = frozenset(prefer())
                addresses = self._book.addresses
                for attempt in self._schedule.next(now, members, linked, addresses, preferred):
                    nursery.start_soon(self._attempt, attempt)
                await trio.sleep(POLL_S)

    async def _attempt(self, attempt: Attempt) -> None:
        failures: dict[str, None] = {}  # in order, each text once
        for address in attempt.addresses:
            failure = await self._dial(attempt.peer, address)
            if failure is None:
                self._schedule.succeeded(attempt.peer, trio.current_time())
                return
            failures[f"{address.rpartition('/p2p/')[0]}: {failure}"] = None
        self._schedule.failed(attempt.peer, "; ".join(failures), trio.current_time())

    async def _dial(self, peer: PeerId, address: str) -> str | None:
        """Return why `peer` did not answer at `address`, None if it did."""
        with trio.move_on_after(DIAL_S_MAX):
            try:
                answered = await self._network.dial(address)
            except NetworkError as error:
                return str(error)
            return None if answered == peer else "answers with another identity"
        return "timed out"
