"""Large frames: what the sender keeps for collection, and what a receiver agrees to fetch. Pure."""

from __future__ import annotations

from collections import Counter
from typing import Final

from gossamer_crypto.identity import PeerId
from gossamer_transport.libp2p.chunks import Offer

HOLD_S: Final = 120.0
"""An offered frame can be fetched for so long."""

PULLS_PER_PEER_MAX: Final = 8
"""Offers of one peer that are being fetched or wait for it."""


class OfferShelf:
    """Frames that peers may fetch, oldest first, for `hold_s` and up to `bytes_max` together."""

    def __init__(self, bytes_max: int, hold_s: float = HOLD_S) -> None:
        self._bytes_max = bytes_max
        self._hold_s = hold_s
        self._frames: dict[bytes, tuple[float, bytes, set[PeerId]]] = {}
        self._bytes = 0

    def put(self, peer: PeerId, offer: Offer, frame: bytes, now: float) -> None:
        """Keep `frame`, whose offer is `offer`, for `peer`. A frame offered twice is kept once."""
        peers = {peer}
        if offer.digest in self._frames:
            peers |= self._frames[offer.digest][2]
            self._drop(offer.digest)
        self._frames[offer.digest] = (now, frame, peers)
        self._bytes += len(frame)
        self.expire(now)

    def get(self, peer: PeerId, digest: bytes, now: float) -> bytes | None:
        """Return the frame if it is kept and was offered to `peer`."""
        self.expire(now)
        _, frame, peers = self._frames.get(digest, (0.0, b"", ()))
        return frame if peer in peers else None

    def expire(self, now: float) -> None:
        """Drop what is too old or too much; the newest frame stays whatever its size."""
        for digest, (since, _, _) in list(self._frames.items()):
            full = self._bytes > self._bytes_max and len(self._frames) > 1
            if not full and now - since < self._hold_s:
                return
            self._drop(digest)

    def __len__(self) -> int:
        return len(self._frames)

    def _drop(self, digest: bytes) -> None:
        self._bytes -= len(self._frames.pop(digest)[1])


class PullQuota:
    """Which offers we fetch: few per peer, and no more bytes than the receive queue holds."""

    def __init__(self, bytes_max: int, per_peer_max: int = PULLS_PER_PEER_MAX) -> None:
        self._bytes_max = bytes_max
        self._per_peer_max = per_peer_max
        self._bytes = 0
        self._running: set[tuple[PeerId, bytes]] = set()
        self._per_peer: Counter[PeerId] = Counter()

    def begin(self, peer: PeerId, offer: Offer) -> bool | None:
        """Reserve room for `offer`. None: it is being fetched already. False: `peer` asks too much
        of us, or all peers together do.
        """
        if (peer, offer.digest) in self._running:
            return None
        share = max(self._bytes_max // 4, offer.length)  # one peer cannot reserve everything
        held = sum(1 for other, _ in self._running if other == peer)
        if held >= self._per_peer_max or self._per_peer[peer] + offer.length > share:
            return False
        if self._bytes + offer.length > self._bytes_max:
            return False
        self._running.add((peer, offer.digest))
        self._per_peer[peer] += offer.length
        self._bytes += offer.length
        return True

    def end(self, peer: PeerId, offer: Offer) -> None:
        """Give back what `begin` reserved."""
        self._running.remove((peer, offer.digest))
        self._bytes -= offer.length
        self._per_peer[peer] -= offer.length
        if not self._per_peer[peer]:
            del self._per_peer[peer]
