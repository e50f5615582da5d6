"""What keeps us and single peers apart, in words for `gossamer doctor`: pure."""

from __future__ import annotations

from typing import Final

from gossamer_agent.members.learned import Learned, PeerNote
from gossamer_crypto.identity import PeerId
from gossamer_transport.hello import HelloResponse, HelloStanding

CLOCK_TOLERANCE_S: Final = 120
"""Clocks that differ by more are worth a note. Nothing but the expiry of invites hangs on them."""
NOTES_MAX: Final = 1024


class Notes:
    """One text for each peer and subject; the oldest make room for new ones."""

    def __init__(self) -> None:
        self._texts: dict[tuple[PeerId, str], str] = {}

    def of(self, peer: PeerId) -> tuple[str, ...]:
        """All that is noted of `peer`."""
        return tuple(text for (noted, _), text in self._texts.items() if noted == peer)

    def note(self, peer: PeerId, subject: str, text: str) -> list[Learned]:
        """Note it; told once, until it changes."""
        if self._texts.get((peer, subject)) == text:
            return []
        self._clear(peer, subject)
        self._texts[peer, subject] = text
        if len(self._texts) > NOTES_MAX:
            del self._texts[next(iter(self._texts))]
        return [PeerNote(peer, text)]

    def compare(
        self, peer: PeerId, response: HelloResponse, *, epoch: int, unix_time: int, removed: bool
    ) -> list[Learned]:
        """Note how `peer` and we differ, going by its answer to our HELLO.

        epoch, unix_time, removed: ours, now.
        """
        if response.standing is HelloStanding.STRANGER:
            return self.note(peer, "standing", "does not know us as a member (not admitted there)")
        if response.standing is HelloStanding.REMOVED and not removed:
            return self.note(peer, "standing", "says that we were removed, without proof")
        for subject in ("standing", "swarm", "version"):
            self._clear(peer, subject)
        skew_s = response.unix_time - unix_time
        clock = f"clock differs by {_span(skew_s)}" if abs(skew_s) > CLOCK_TOLERANCE_S else None
        apart = f"is in epoch {response.epoch}, we are in {epoch}"
        return [
            *self._update(peer, "clock", clock),
            *self._update(peer, "epoch", apart if response.epoch != epoch else None),
        ]

    def _update(self, peer: PeerId, subject: str, text: str | None) -> list[Learned]:
        if text is not None:
            return self.note(peer, subject, text)
        self._clear(peer, subject)
        return []

    def _clear(self, peer: PeerId, subject: str) -> None:
        self._texts.pop((peer, subject), None)


def _span(seconds: int) -> str:
    """A length of time in one unit: `3 h`."""
    size = abs(seconds)
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if size >= 2 * length:
            return f"{size // length} {unit}"
    return f"{size} s"
