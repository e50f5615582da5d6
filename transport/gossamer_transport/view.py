"""The view: which peers an agent follows now.

Slots are filled by uniform random sampling. A new follow costs a keyframe, so the view turns over
slowly: the agent decides when, the view decides whom. Equal seeds and equal calls give equal views,
in whatever order the candidates come.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from gossamer_crypto.identity import PeerId


@dataclass(frozen=True, slots=True)
class Change:
    """Whom to follow from now on and whom no more, each in PeerId order."""

    added: tuple[PeerId, ...] = ()
    dropped: tuple[PeerId, ...] = ()


class View:
    """Up to `size` followed peers, never `own`.

    `candidates` are the peers that may be followed now; followed ones among them do no harm. Nobody
    is dropped for being absent there: `drop` says so explicitly.

    Raises:
        ValueError: `size` is not positive.
    """

    __slots__ = ("_following", "_own", "_rng", "_size")

    def __init__(self, own: PeerId, size: int, rng: np.random.Generator) -> None:
        if size <= 0:
            raise ValueError("a view has at least one slot")
        self._own = own
        self._size = size
        self._rng = rng
        self._following: tuple[PeerId, ...] = ()

    @property
    def following(self) -> tuple[PeerId, ...]:
        """The followed peers in PeerId order."""
        return self._following

    def fill(self, candidates: Iterable[PeerId]) -> Change:
        """Fill the free slots, as far as there are candidates."""
        added = self._sample(self._eligible(candidates), self._size - len(self._following))
        return self._change(added, ())

    def turn_over(self, candidates: Iterable[PeerId]) -> Change:
        """Replace one random slot if somebody can take it; free slots are filled instead."""
        if len(self._following) < self._size:
            return self.fill(candidates)
        added = self._sample(self._eligible(candidates), 1)
        if not added:
            return Change()
        return self._change(added, self._sample(self._following, 1))

    def drop(self, peer: PeerId, candidates: Iterable[PeerId]) -> Change:
        """Stop following `peer` at once and fill its slot with another one."""
        if peer not in self._following:
            return Change()
        # Still followed here, hence not eligible: nobody replaces itself.
        return self._change(self._sample(self._eligible(candidates), 1), (peer,))

    def _eligible(self, candidates: Iterable[PeerId]) -> list[PeerId]:
        taken = {self._own, *self._following}
        return sorted(peer for peer in dict.fromkeys(candidates) if peer not in taken)

    def _sample(self, peers: list[PeerId] | tuple[PeerId, ...], count: int) -> tuple[PeerId, ...]:
        count = min(count, len(peers))
        if count <= 0:
            return ()
        chosen = self._rng.choice(len(peers), size=count, replace=False)
        return tuple(sorted(peers[index] for index in chosen.tolist()))

    def _change(self, added: tuple[PeerId, ...], dropped: tuple[PeerId, ...]) -> Change:
        kept = [peer for peer in self._following if peer not in dropped]
        self._following = tuple(sorted((*kept, *added)))
        return Change(added, dropped)
