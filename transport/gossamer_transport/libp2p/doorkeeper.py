"""Who may have a link, who may send frames, and why others were refused. Pure.

Members may be linked; strangers may as guests, a few of them and for a while; whoever was banned
may not, for as long as this lives, which is longer than any host. Who is a member is asked anew
each time, so an eviction counts at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Set

from gossamer_crypto.errors import Reason
from gossamer_crypto.identity import PeerId
from gossamer_transport.libp2p.guests import GuestBook


class Doorkeeper(Container[PeerId]):
    """Contains those who are members in `admits` now and were not banned.

    linked: who has a link now. cut: ends the links of a peer, soon. refused: how often peers were
    refused something, by reason.
    """

    def __init__(
        self,
        admits: Container[PeerId],
        guests_max: int,
        linked: Callable[[], Set[PeerId]],
        cut: Callable[[PeerId], None],
    ) -> None:
        self.admits = admits
        self.guests = GuestBook(guests_max)
        self.refused: Counter[Reason] = Counter()
        self._banned: set[PeerId] = set()
        self._linked = linked
        self._cut = cut

    def __contains__(self, peer: object) -> bool:
        return peer in self.admits and peer not in self._banned

    def is_banned(self, peer: PeerId) -> bool:
        """Return whether `ban` was called for `peer`."""
        return peer in self._banned

    def ban(self, peer: PeerId) -> None:
        """Never let `peer` in again."""
        self._banned.add(peer)
        self.guests.leave(peer)

    def admit(self, peer: PeerId, outbound: bool, now: float) -> Reason | None:
        """Return why `peer`, whose identity is proved, may not be linked, or None."""
        if peer in self._banned:
            return Reason.BANNED
        if peer in self:
            return None
        self.guests.forget_departed(self._linked(), now)
        if not outbound and (leaving := self.guests.to_make_room(now)) is not None:
            self.guests.leave(leaving)
            self._cut(leaving)
        return None if self.guests.arrive(peer, now, invited=outbound) else Reason.NOT_A_MEMBER

    def refuse(self, peer: PeerId | None, reason: Reason, cut: bool = False) -> None:
        """Count a refusal; with `cut` it costs `peer` its links."""
        self.refused[reason] += 1
        if cut and peer is not None:
            self._cut(peer)

    def look_around(self, listens: Callable[[PeerId], bool], now: float) -> list[PeerId]:
        """Bring the guest book up to date, and return whom to cut: the banned, whose link was just
        being made, and guests who ask for nothing and do not hear the topic, as `listens` says.
        """
        linked = self._linked()
        self.guests.forget_departed(linked, now)
        for peer in self.guests:
            if peer in self:
                self.guests.leave(peer)
        for peer in linked - self._banned:
            if peer not in self:
                self.guests.demote(peer, now)
        idle = [peer for peer in self.guests.idle(now) if not listens(peer)]
        return [*(linked & self._banned), *idle]
