"""What merging costs: `python benchmarks/median.py` prints Markdown tables.

CPU time of this process, the best of several runs; all candidates of a row take turns, so that a
busy machine slows them alike. np.median is also what ByzFL and others publish as their median;
np.sort selects the same element as the kernel. The weighted median is measured with two clones that
share a vote, and with votes that are all unlike. A whole merge by the rule gossamer checks its
inputs, too: once all votes are equal, once two of the peers send one vector and share a vote, and
once what all started from is known, so that who lies behind has fewer votes, as in a real merge.
Runs on one BLAS thread.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when numpy is imported

import platform
import sys
import time
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from gossamer_agent.merge import Merged, MergeInput, merge
from gossamer_agent.merge.kernels import Vector, coordinate_median
from gossamer_agent.merge.result import ONE_VOTE
from gossamer_agent.merge.weighted import weighted_lower_median
from gossamer_crypto.identity import PeerId

KERNELS = {
    1_000_000: range(3, 16),
    200_000: (17, 21, 25, 33, 49, 65),  # np.median alone takes a second for the last at 10^6
    10_000: (3, 5, 9, 15, 21),
}
PIPELINES = {9: (4_810, 30_010, 1_000_000), 5: (1_000_000,), 15: (1_000_000,), 21: (1_000_000,)}
TURNS = 5
BATCH_SECONDS = 0.005


def rows_of(count: int, size: int) -> list[Vector]:
    return list(np.random.default_rng(count).normal(size=(count, size)).astype(np.float32))


def np_median(rows: Sequence[Vector]) -> object:
    return np.median(np.asarray(rows), axis=0)


def np_sort(rows: Sequence[Vector]) -> object:
    return np.sort(np.asarray(rows), axis=0)[(len(rows) - 1) // 2]


def cpu_seconds(candidates: Sequence[Callable[[], object]]) -> list[float]:
    """CPU seconds of one call of each candidate, the best of TURNS batches taken in turns."""
    repeats = []
    for candidate in candidates:
        candidate()
        started = time.process_time()
        candidate()
        spent = max(time.process_time() - started, 1e-6)
        repeats.append(max(1, round(BATCH_SECONDS / spent)))
    best = [float("inf")] * len(candidates)
    for _ in range(TURNS):
        for index, (candidate, repeat) in enumerate(zip(candidates, repeats, strict=True)):
            started = time.process_time()
            for _ in range(repeat):
                candidate()
            best[index] = min(best[index], (time.process_time() - started) / repeat)
    return best


def print_row(*groups: Sequence[object]) -> None:
    cells = [str(cell) for group in groups for cell in group]
    print("| " + " | ".join(cells) + " |", flush=True)


def print_head(*groups: Sequence[str]) -> None:
    print()
    print_row(*groups)
    print_row(["---" for group in groups for _ in group])


def measure_kernels(size: int, counts: Iterable[int]) -> None:
    print_head(
        [f"K, d = {size}: ns per coordinate", "median", "np.median", "np.sort"],
        ["times np.median", "times np.sort", "two clones", "unlike votes"],
    )
    for count in counts:
        rows = rows_of(count, size)
        stack = np.asarray(rows)  # the others need a stack; its making is not held against them
        clones = np.full(count, ONE_VOTE)
        clones[:2] //= 2
        unlike = np.random.default_rng(count).integers(ONE_VOTE // 2, ONE_VOTE, count)
        seconds = cpu_seconds(
            [
                lambda rows=rows: coordinate_median(rows),
                lambda stack=stack: np_median(stack),
                lambda stack=stack: np_sort(stack),
                lambda rows=rows, votes=clones: weighted_lower_median(rows, votes),
                lambda rows=rows, votes=unlike: weighted_lower_median(rows, votes),
            ]
        )
        ours, median, sort, shared, weighted = (1e9 * value / size for value in seconds)
        print_row(
            [count, f"{ours:.1f}", f"{median:.0f}", f"{sort:.0f}"],
            [f"{median / ours:.1f}", f"{sort / ours:.1f}", f"{shared:.1f}", f"{weighted:.1f}"],
        )


def merged(rows: Sequence[Vector], initial: Vector | None = None) -> Merged:
    peers = [PeerId(bytes([number]) * 32) for number in range(len(rows))]
    inputs = [MergeInput(peer, row) for peer, row in zip(peers, rows, strict=True)]
    return merge("gossamer", inputs, peers[0], initial=initial)


def measure_pipeline(count: int, sizes: Iterable[int]) -> None:
    print_head(
        [f"d, K = {count}: ms", "median", "np.median"],
        ["gossamer, equal votes", "times median", "of np.median"],
        ["shared votes", "times median", "of np.median"],
        ["with progress", "times median", "of np.median"],
    )
    for size in sizes:
        rows = rows_of(count, size)
        stack = np.asarray(rows)
        shared = [rows[0], rows[0], *rows[2:]]
        initial = np.full(size, -1, np.float32)
        assert len(set(merged(rows).votes)) == 1
        assert len(set(merged(rows, initial).votes)) > 1
        bare, median, *whole = cpu_seconds(
            [
                lambda rows=rows: coordinate_median(rows),
                lambda stack=stack: np_median(stack),
                lambda rows=rows: merged(rows),
                lambda shared=shared: merged(shared),
                lambda rows=rows, initial=initial: merged(rows, initial),
            ]
        )
        cells = [
            [f"{1e3 * value:.2f}", f"{value / bare:.1f}", f"{value / median:.2f}"]
            for value in whole
        ]
        print_row([size, f"{1e3 * bare:.2f}", f"{1e3 * median:.2f}"], *cells)


def main() -> None:
    version = ".".join(map(str, sys.version_info[:3]))
    print(f"Python {version}, numpy {np.__version__}, {platform.machine()}")
    for size, counts in KERNELS.items():
        measure_kernels(size, counts)
    for count, sizes in PIPELINES.items():
        measure_pipeline(count, sizes)


if __name__ == "__main__":
    main()
