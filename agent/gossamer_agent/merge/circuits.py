"""Quantiles of rows that have votes, as circuits of minima and maxima.

Theory of operation. Whether the rows whose value is at most v hold a given share of the votes is a
monotone function of the set of these rows: it is made of "and" and "or". The same formula with the
maximum for "and" and the minimum for "or", applied to the values, gives the smallest v for which it
is true. So every quantile by votes takes nothing but elementwise minima and maxima.

Of rows with equal votes only their number counts, so they are sorted by a network and taken from
the lowest on; so are rows whose votes differ by too little to ever matter. From group to group,

    value = min over n of max(n-th lowest of the group, value of the rest beside n of the group)

with equal parts made once, also for several quantiles. With all votes equal this is the network of
these ranks; two or three lighter rows make it shorter rather than longer.

Source: threshold decomposition of rank-order filters, Fitch, Coyle and Gallagher 1984; the circuit
is a reduced decision diagram, Bryant 1986.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from math import prod
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from gossamer_agent.merge.networks import Network, Operation, assemble, batcher_pairs

Share: TypeAlias = tuple[int, int]
"""Numerator and denominator of a share of all votes."""

_Sets: TypeAlias = npt.NDArray[np.bool_]
"""For so many rows of each group, one axis each: whether they reach the share."""

_SETS_MAX: Final = 8192
"""Sets to be decided, for all shares together. Above, as for three quantiles of twelve rows that
are all unlike, a sort takes no longer than the circuit."""

# In place of a value: the share is reached already, or whatever follows.
_REACHED: Final = -1
_MISSED: Final = -2


class Circuit(NamedTuple):
    """`network.results` holds the quantiles of rows that are given in the order `rows`."""

    rows: tuple[int, ...]
    network: Network


@lru_cache(maxsize=32)
def compile_quantiles(votes: tuple[int, ...], shares: tuple[Share, ...]) -> Circuit | None:
    """What selects, for each share, the smallest value at which the votes up to it reach the share.

    votes: one of each row, all positive, at least one, their sum below 2^31; shares: each in 0..1.
    None where there are too many unlike votes for a circuit of reasonable size.
    """
    alike: defaultdict[int, list[int]] = defaultdict(list)
    for row, vote in enumerate(votes):
        alike[vote].append(row)
    groups = [alike[vote] for vote in sorted(alike, reverse=True)]
    if len(shares) * prod(len(group) + 1 for group in groups) > _SETS_MAX:
        return None
    sums = np.zeros((), np.int64)
    for group in groups:
        sums = np.add.outer(sums, np.arange(len(group) + 1, dtype=np.int64) * votes[group[0]])
    total = sum(votes)
    sets = np.array([sums * whole >= total * part for part, whole in shares])
    groups, sets = _joined(groups, sets)
    sizes = tuple(len(group) for group in groups)
    network = _compiled(sizes, len(shares), sets.tobytes())
    return Circuit(tuple(row for group in groups for row in group), network)


def _joined(groups: list[list[int]], sets: _Sets) -> tuple[list[list[int]], _Sets]:
    """Join neighbouring groups of which only the number of their rows together matters."""
    joined = [groups[0]]
    for group in groups[1:]:
        axis = len(joined)  # The first axis of `sets` is that of the shares.
        grid = np.moveaxis(sets, (axis, axis + 1), (0, 1))
        if np.array_equal(grid[1:, :-1], grid[:-1, 1:]):
            joined[-1] = joined[-1] + group
            sets = np.moveaxis(np.concatenate([grid[:, 0], grid[-1, 1:]]), 0, axis)
        else:
            joined.append(group)
    return joined, sets


@lru_cache(maxsize=256)  # Unlike votes mostly have one of few circuits.
def _compiled(sizes: tuple[int, ...], shares: int, sets: bytes) -> Network:
    builder = _Builder(sizes)
    tables = np.frombuffer(sets, np.bool_).reshape(shares, *(size + 1 for size in sizes))
    return assemble(sum(sizes), builder.nodes, [builder.value(0, table) for table in tables])


class _Builder:
    """Collects operations in single-assignment form: value number `inputs + i` is of `nodes[i]`."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self.nodes: list[Operation] = []
        self._inputs = sum(sizes)
        self._numbers: dict[tuple[bool, int, int], int] = {}
        self._values: dict[tuple[int, bytes], int] = {}
        self._sorted = [
            self._sort(range(sum(sizes[:group]), sum(sizes[: group + 1])))
            for group in range(len(sizes))
        ]

    def value(self, group: int, sets: _Sets) -> int:
        """The quantile among the rows from this group on; or _REACHED or _MISSED."""
        if sets.flat[0]:
            return _REACHED
        if not sets.flat[-1]:
            return _MISSED
        key = group, sets.tobytes()
        if key not in self._values:
            self._values[key] = self._lowest(group, sets)
        return self._values[key]

    def _lowest(self, group: int, sets: _Sets) -> int:
        """The minimum over all numbers of rows that may be taken from the group."""
        choices: list[tuple[int, int]] = []
        for taken, table in enumerate(sets):
            rest = self.value(group + 1, table)
            # To take more rows pays only if the rest then gives a lower value.
            if rest != _MISSED and not (choices and choices[-1][1] == rest):
                choices.append((taken, rest))
            if rest == _REACHED:
                break
        taken, value = choices.pop()
        while choices:
            above = self._at_least(group, taken, value)
            taken, rest = choices.pop()
            value = self._number(False, rest, above)
        return self._at_least(group, taken, value)

    def _at_least(self, group: int, taken: int, value: int) -> int:
        """The maximum of the value and that of the last row taken from the group."""
        if not taken:
            return value
        last = self._sorted[group][taken - 1]
        return last if value == _REACHED else self._number(True, last, value)

    def _sort(self, rows: Sequence[int]) -> list[int]:
        wires = list(rows)
        for low, high in batcher_pairs(len(wires)):
            left, right = wires[low], wires[high]
            wires[low], wires[high] = (
                self._number(False, left, right),
                self._number(True, left, right),
            )
        return wires

    def _number(self, is_maximum: bool, left: int, right: int) -> int:
        key = is_maximum, min(left, right), max(left, right)
        if key not in self._numbers:
            self._numbers[key] = self._inputs + len(self.nodes)
            self.nodes.append(Operation(*key, self._numbers[key]))
        return self._numbers[key]
