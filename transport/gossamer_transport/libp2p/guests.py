"""Who may be linked without being a member, and for how long. Pure.

A stranger needs a link to ask for membership, so some must be let in; a bounded number, so that
they cannot keep members out, and not for ever, so that they cannot keep each other out.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import Final

from gossamer_crypto.identity import PeerId

IDLE_S: Final = 30.0
"""A guest who asks nothing for so long is cut, unless it listens to the topic."""

ARRIVING_S: Final = 2.0
"""A guest is written down for so long before its link must be seen."""


@dataclass(slots=True)
class _Guest:
    since: float
    active_at: float
    invited: bool  # we dialled it, so it does not count


class GuestBook:
    """The non-members with a link. At most `guests_max` of those who came by themselves."""

    def __init__(self, guests_max: int, idle_s: float = IDLE_S) -> None:
        self._guests_max = guests_max
        self._idle_s = idle_s
        self._guests: dict[PeerId, _Guest] = {}

    def __len__(self) -> int:
        return len(self._guests)

    def __contains__(self, peer: PeerId) -> bool:
        return peer in self._guests

    def __iter__(self) -> Iterator[PeerId]:
        return iter(tuple(self._guests))

    def arrive(self, peer: PeerId, now: float, *, invited: bool = False) -> bool:
        """Write `peer` down; False: the house is full."""
        guest = self._guests.get(peer)
        if guest is not None:
            guest.active_at = now
            guest.invited |= invited
            return True
        if not invited and self._uninvited() >= self._guests_max:
            return False
        self._guests[peer] = _Guest(now, now, invited)
        return True

    def demote(self, peer: PeerId, now: float) -> None:
        """Write down `peer`, a member no more but still linked, even if the house is full."""
        self._guests.setdefault(peer, _Guest(now, now, invited=False))

    def forget_departed(self, linked: Container[PeerId], now: float) -> None:
        """Forget those without a link, but for those whose link is just being made."""
        for peer, guest in list(self._guests.items()):
            if peer not in linked and now - guest.active_at >= ARRIVING_S:
                del self._guests[peer]

    def to_make_room(self, now: float) -> PeerId | None:
        """Return who has stayed longest beyond its time, if the house is full: cut it."""
        if self._uninvited() < self._guests_max:
            return None
        stay = [
            (guest.since, peer)
            for peer, guest in self._guests.items()
            if not guest.invited and now - guest.since >= self._idle_s
        ]
        return min(stay)[1] if stay else None

    def touch(self, peer: PeerId, now: float) -> None:
        """Note that `peer` asked for something, or was asked."""
        if peer in self._guests:
            self._guests[peer].active_at = now

    def leave(self, peer: PeerId) -> None:
        """Forget `peer`: its link is gone, or it became a member."""
        self._guests.pop(peer, None)

    def idle(self, now: float) -> list[PeerId]:
        """Return those who asked for nothing lately."""
        return [
            peer for peer, guest in self._guests.items() if now - guest.active_at >= self._idle_s
        ]

    def _uninvited(self) -> int:
        return sum(not guest.invited for guest in self._guests.values())
