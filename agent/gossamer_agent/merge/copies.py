"""Equal inputs are one input.

Theory of operation. Who sends an exact copy of another vector says nothing new. Nine inputs of
which five are equal have a median, and distances to it, of a swarm of one; sharing a vote
afterwards comes too late. So of equal rows one is kept before anything is measured, the own one if
it is among them, and its copies have no vote and the same place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from gossamer_agent.merge.kernels import Vector
from gossamer_agent.merge.result import Merged
from gossamer_agent.merge.setting import Setting

_HEAD: Final = 16  # Values compared first: unlike vectors mostly differ there.


@dataclass(frozen=True, slots=True)
class Distinct:
    """Which of K rows are kept, ascending, and which of these equals each row [K]."""

    kept: list[int]
    place: npt.NDArray[np.intp]

    def setting(self, setting: Setting) -> Setting:
        """What a rule may know of the kept rows."""
        groups = (tuple(self.kept.index(r) for r in g if r in self.kept) for g in setting.groups)
        own = int(self.place[setting.own])
        return replace(setting, own=own, groups=tuple(group for group in groups if group))

    def widened(self, merged: Merged) -> Merged:
        """The result of the kept rows as one of all K."""
        votes = np.zeros(self.place.size, np.int64)
        clip = np.zeros(self.place.size)
        votes[self.kept], clip[self.kept] = merged.votes, merged.clip
        distances = merged.distances[self.place]
        return replace(merged, votes=votes, clip=clip, distances=distances)


def distinct(rows: Sequence[Vector], setting: Setting) -> Distinct:
    """Find the equal ones of K rows float32[P].

    Kept is the own one, else one in the fewest groups: else a newcomer that copies a known peer
    would bound that one's vote.
    """
    same: list[list[int]] = []
    heads: dict[bytes, list[list[int]]] = {}
    for index, row in enumerate(rows):
        alike = heads.setdefault(row[:_HEAD].tobytes(), [])
        for group in alike:
            if np.array_equal(rows[group[0]], row):
                group.append(index)
                break
        else:
            alike.append([index])
            same.append(alike[-1])

    def rank(row: int) -> tuple[bool, int, int]:
        return row != setting.own, sum(row in group for group in setting.groups), row

    kept = sorted(min(group, key=rank) for group in same)
    place = np.empty(len(rows), np.intp)
    for group in same:
        place[group] = kept.index(min(group, key=rank))
    return Distinct(kept, place)
