"""The view: which peers an agent follows now.

Theory of operation. Nobody can push itself into a view: every slot, not only half of them, is
filled by our own choice among candidates that the caller took from the roster. A slot that is
filled draws a fresh secret key and takes the candidate with the smallest digest of its name under
that key (as BASALT ranks: Auvolat et al., arXiv:2102.04063). To be offered more often or first, or
to choose one's name, thus helps nobody. To hold more names does help, as in any fair draw, so names
are tied to who let them in:

A branch is a member that a steward invited, with all whom it invited, and whom those invited, and
so on. At most a third of the slots (rounded up) go to one branch. That bounds the subtree of every
inviter who is no steward, because each lies inside one branch; members invited by a steward are
branches of their own, as in a small swarm the founder invites everybody. When nobody else is left,
slots stay free: an attacker who hides the others from us is just whom the quota is for.

A new follow costs a keyframe, so the view turns over slowly: the agent decides when, the view
decides whom. The better half by score stays, the victim is drawn among the rest. Equal seeds and
equal calls give equal views, in whatever order the candidates come.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from typing import Final

import numpy as np

from gossamer_crypto.identity import PeerId

KEY_BYTES: Final = 16
DIGEST_BYTES: Final = 16
BRANCH_SHARE: Final = 3  # one slot in this many, rounded up


@dataclass(frozen=True, slots=True)
class Change:
    """Whom to follow from now on and whom no more, each in PeerId order."""

    added: tuple[PeerId, ...] = ()
    dropped: tuple[PeerId, ...] = ()


def no_inviter(peer: PeerId) -> PeerId | None:  # noqa: ARG001  an inviter_of
    """Nobody is known to have invited anybody: each peer is a branch of its own."""
    return None


def equal_score(peer: PeerId) -> float:  # noqa: ARG001  a score_of
    """All are as good: the victim of a turnover is drawn among all."""
    return 0.0


class View:
    """Up to `size` followed peers, never `own`.

    `candidates` are the members that may be followed now; followed ones among them do no harm.
    Nobody is dropped for being absent there: `drop` says so explicitly.

    inviter_of: who invited a member; None for a steward. It must not change for a followed peer.
    score_of: how good a followed peer is, higher is better, never NaN.

    Raises:
        ValueError: `size` is not positive.
    """

    __slots__ = ("_following", "_inviter_of", "_own", "_quota", "_rng", "_score_of", "_size")

    def __init__(
        self,
        own: PeerId,
        size: int,
        rng: np.random.Generator,
        *,
        inviter_of: Callable[[PeerId], PeerId | None] = no_inviter,
        score_of: Callable[[PeerId], float] = equal_score,
    ) -> None:
        if size <= 0:
            raise ValueError("a view has at least one slot")
        self._own = own
        self._size = size
        self._rng = rng
        self._inviter_of = inviter_of
        self._score_of = score_of
        self._quota = branch_quota(size)
        self._following: tuple[PeerId, ...] = ()

    @property
    def following(self) -> tuple[PeerId, ...]:
        """The followed peers in PeerId order."""
        return self._following

    def fill(self, candidates: Iterable[PeerId]) -> Change:
        """Fill the free slots, as far as there are candidates within their branch's quota."""
        free = self._size - len(self._following)
        return self._change(self._choose(candidates, self._following, free), ())

    def turn_over(self, candidates: Iterable[PeerId]) -> Change:
        """Replace one slot outside the better half if somebody can take it.

        Free slots are filled instead; only if none can be, as when quotas keep them free, one of
        the others is replaced.
        """
        candidates = list(candidates)
        filled = self.fill(candidates)
        if filled.added or not self._following:
            return filled
        victim = self._victim()
        return self._replace(victim, candidates) or Change()

    def drop(self, peer: PeerId, candidates: Iterable[PeerId]) -> Change:
        """Stop following `peer` at once and fill its slot with another one."""
        if peer not in self._following:
            return Change()
        return self._replace(peer, candidates) or self._change((), (peer,))

    def _replace(self, peer: PeerId, candidates: Iterable[PeerId]) -> Change | None:
        """Give the slot of `peer` to another one; None, and no change, if nobody can take it."""
        kept = tuple(other for other in self._following if other != peer)
        others = [other for other in candidates if other != peer]  # nobody replaces itself
        added = self._choose(others, kept, 1)
        return self._change(added, (peer,)) if added else None

    def _victim(self) -> PeerId:
        """A random one outside the better half; chance says which of equals is better."""
        key = self._rng.bytes(KEY_BYTES)
        ranked = sorted(self._following, key=lambda peer: (self._score_of(peer), _rank(key, peer)))
        rest = len(ranked) - len(ranked) // 2
        return ranked[int(self._rng.integers(rest))]

    def _choose(
        self, candidates: Iterable[PeerId], kept: tuple[PeerId, ...], slots: int
    ) -> tuple[PeerId, ...]:
        """Whom to put into `slots` free slots beside those that are kept, in PeerId order."""
        if slots <= 0:
            return ()
        open_to = sorted(set(candidates).difference(kept, (self._own,)))
        branches = branches_of((*kept, *open_to), self._inviter_of)
        held = Counter(branches[peer] for peer in kept)
        added: list[PeerId] = []
        while len(added) < slots:
            eligible = [peer for peer in open_to if held[branches[peer]] < self._quota]
            if not eligible:
                break
            key = self._rng.bytes(KEY_BYTES)
            chosen = min(eligible, key=partial(_rank, key))
            open_to.remove(chosen)
            held[branches[chosen]] += 1
            added.append(chosen)
        return tuple(sorted(added))

    def _change(self, added: tuple[PeerId, ...], dropped: tuple[PeerId, ...]) -> Change:
        kept = [peer for peer in self._following if peer not in dropped]
        self._following = tuple(sorted((*kept, *added)))
        return Change(added, dropped)


def branch_quota(size: int) -> int:
    """How many of `size` slots one branch may hold: a third, rounded up, so at least one."""
    return -(-size // BRANCH_SHARE)


def branches_of(
    peers: Iterable[PeerId], inviter_of: Callable[[PeerId], PeerId | None]
) -> dict[PeerId, PeerId]:
    """The branch of each peer (and of those on its way up), named by who was invited by a steward.

    Who has no inviter, or names itself, is a steward and a branch alone. A circle of inviters,
    which no roster can hold, is one branch with all that hangs from it. Each member is asked for
    once, so that long chains cost no more than the roster has entries.
    """
    branches: dict[PeerId, PeerId] = {}
    stewards: set[PeerId] = set()
    for peer in peers:
        path: dict[PeerId, None] = {}
        at, top = peer, peer  # top: the last on the way who is no steward
        while at not in branches and at not in path:
            above = inviter_of(at)
            if above is None or above == at:
                branches[at] = at
                stewards.add(at)
                break
            path[at] = None
            at, top = above, at
        if at in path:
            steps = list(path)
            top = min(steps[steps.index(at) :])
        elif at not in stewards:
            top = branches[at]
        branches |= dict.fromkeys(path, top)
    return branches


def _rank(key: bytes, peer: PeerId) -> bytes:
    return blake2b(peer, digest_size=DIGEST_BYTES, key=key).digest()
