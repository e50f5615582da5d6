"""Comparator networks: which minima and maxima select given ranks out of n rows.

Theory of operation. A sorting network is a fixed list of comparators, each of which puts the
smaller of two wires first. Applied to whole rows instead of numbers it sorts every coordinate at
once, with nothing but elementwise minimum and maximum. A median needs one wire of the result, so
all halves of comparators that do not reach this wire are left out (`compile_network`). What is left
is a straight-line program over numbered slots: inputs first, then scratch buffers, each reused as
soon as nobody reads it any more, so that a block of all of them stays in the cache.

Source: Knuth, The Art of Computer Programming 3, 5.2.2, algorithm M (Batcher's merge exchange).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple


class Operation(NamedTuple):
    """`slots[out] = max(slots[left], slots[right])`, or the minimum."""

    is_maximum: bool
    left: int
    right: int
    out: int


@dataclass(frozen=True, slots=True)
class Network:
    """A program over `inputs` read-only slots followed by `scratch` buffers.

    `results[i]` is the slot that holds the i-th wanted rank at the end. It is an input slot only
    when there is nothing to compare.
    """

    inputs: int
    scratch: int
    operations: tuple[Operation, ...]
    results: tuple[int, ...]


def batcher_pairs(size: int) -> Iterator[tuple[int, int]]:
    """Comparators (i, j), i < j, that sort any `size` wires in ascending order."""
    top = 1 << max(0, (size - 1).bit_length() - 1) if size > 1 else 0
    step = top
    while step:
        span, residue, distance = top, 0, step
        while True:
            for low in range(size - distance):
                if low & step == residue:
                    yield low, low + distance
            if span == step:
                break
            distance = span - step
            span >>= 1
            residue = step
        step >>= 1


@lru_cache(maxsize=512)
def compile_network(size: int, wanted: tuple[int, ...]) -> Network:
    """The program that leaves the `wanted` ranks (0 = smallest) of `size` rows in its results.

    Raises ValueError when `size` is not positive or a rank lies outside of it.
    """
    if size < 1 or not all(0 <= rank < size for rank in wanted):
        raise ValueError(f"no ranks {wanted} among {size} rows")
    nodes, outputs = _dataflow(size)
    return assemble(size, nodes, [outputs[rank] for rank in wanted])


def assemble(size: int, nodes: Sequence[Operation], results: Sequence[int]) -> Network:
    """The program for what `results` need of `nodes`, which are in single-assignment form.

    Values are numbered: the `size` inputs first, then each node's `out`, after what it reads.
    """
    live = _live(nodes, results, size)
    return _allocate(size, [node for node in nodes if node.out in live], results)


def _dataflow(size: int) -> tuple[list[Operation], list[int]]:
    """The unpruned network in single-assignment form, and the value on each wire at its end."""
    wires = list(range(size))
    nodes: list[Operation] = []
    for low, high in batcher_pairs(size):
        left, right = wires[low], wires[high]
        for is_maximum, wire in ((False, low), (True, high)):
            wires[wire] = size + len(nodes)
            nodes.append(Operation(is_maximum, left, right, wires[wire]))
    return nodes, wires


def _live(nodes: Sequence[Operation], results: Sequence[int], size: int) -> set[int]:
    """The values of `nodes` on which `results` depend."""
    live = set(results)
    for node in reversed(nodes):
        if node.out in live:
            live |= {node.left, node.right}
    return {value for value in live if value >= size}


def _allocate(size: int, nodes: Sequence[Operation], results: Sequence[int]) -> Network:
    """Put every value into a slot, reusing slots whose value has been read for the last time."""
    last_read = dict.fromkeys(results, len(nodes))
    for position, node in enumerate(nodes):
        for source in (node.left, node.right):
            last_read[source] = max(position, last_read.get(source, -1))
    slots = {value: value for value in range(size)}
    free: list[int] = []
    used = size
    operations: list[Operation] = []
    for position, node in enumerate(nodes):
        # A source that dies here may be overwritten: the operation is elementwise.
        free += [
            slots[source]
            for source in (node.left, node.right)
            if source >= size and last_read[source] == position
        ]
        if free:
            slots[node.out] = free.pop()
        else:
            slots[node.out] = used
            used += 1
        operations.append(
            Operation(node.is_maximum, slots[node.left], slots[node.right], slots[node.out])
        )
    return Network(size, used - size, tuple(operations), tuple(slots[value] for value in results))
