"""What hostile vectors cost: `python benchmarks/hostile.py` prints a Markdown table.

A merge of nine vectors of 10^6 parameters by the rule gossamer, four of them hostile, in CPU time
and as a share of the same merge of honest vectors. Kinds take turns with the honest merge in one
run; best of several. On the right the merge knows what all started from, as real ones do, and
weighs progress. Beside each kind stands how many unlike votes there are in the merge on the left.
Runs on one BLAS thread.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when numpy is imported

import time

import numpy as np

from gossamer_agent.merge import BOUND, Merged, MergeInput, merge
from gossamer_agent.merge.kernels import Vector
from gossamer_crypto.identity import PeerId

COUNT, LIARS, SIZE = 9, 4, 1_000_000
STEPS = [np.float32(step) for step in (0.01, 0.2, 0.3, 0.4)]
TURNS = 7
PEERS = [PeerId(bytes([number]) * 32) for number in range(COUNT)]


def lies(honest: list[Vector]) -> dict[str, list[Vector]]:
    """LIARS hostile vectors of each kind."""
    rng = np.random.default_rng(1)
    zero = np.zeros(SIZE, np.float32)
    last_nan, outlier = zero.copy(), zero.copy()
    last_nan[-1], outlier[SIZE // 2] = np.nan, BOUND
    denormal = [
        rng.integers(1, 2**23, SIZE, dtype=np.uint32).view(np.float32) for _ in range(LIARS)
    ]
    small = [(1e-22 * rng.normal(size=SIZE)).astype(np.float32) for _ in range(LIARS)]
    bits = [rng.integers(0, 2**32, SIZE, dtype=np.uint32).view(np.float32) for _ in range(LIARS)]
    alternating = np.resize(np.array([BOUND, -BOUND], np.float32), SIZE)
    return {
        "not a number, in the last place": [last_nan] * LIARS,
        "any bits": bits,
        "denormal, all unlike": denormal,
        "denormal, equal": [denormal[0]] * LIARS,
        "with denormal squares": small,
        "zero": [zero] * LIARS,
        "the bound in one place": [outlier] * LIARS,
        "the bound, alternating": [alternating] * LIARS,
        "near honest ones, unlike votes": [
            near + step * far for near, far, step in zip(honest, honest[1:], STEPS, strict=False)
        ],
    }


def merged(rows: list[Vector], initial: Vector | None) -> Merged:
    inputs = [MergeInput(peer, row) for peer, row in zip(PEERS, rows, strict=True)]
    return merge("gossamer", inputs, PEERS[0], initial=initial)


def main() -> None:
    values = np.random.default_rng(0).normal(size=(COUNT, SIZE))
    honest = list((0.05 * values).astype(np.float32))
    cases = {"honest": honest, "two equal": [honest[0], honest[0], *honest[2:]]}
    cases |= {name: [*honest[LIARS:], *vectors] for name, vectors in lies(honest[LIARS:]).items()}
    # Denormal on both sides, so that every difference is, too.
    cases["nothing but denormals"] = [
        np.random.default_rng(k).integers(1, 2**23, SIZE, dtype=np.uint32).view(np.float32)
        for k in range(COUNT)
    ]
    known = np.full(SIZE, -0.05, np.float32)
    runs = [(name, initial) for name in cases for initial in (None, known)]
    best = [float("inf")] * len(runs)
    votes = {name: len(set(merged(rows, None).votes.tolist())) for name, rows in cases.items()}
    for _ in range(TURNS):
        for run, (name, initial) in enumerate(runs):
            started = time.process_time()
            merged(cases[name], initial)
            best[run] = min(best[run], time.process_time() - started)
    print(
        "| four of nine vectors | unlike votes | CPU ms | of honest | with progress | of honest |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, bare, full in zip(cases, best[::2], best[1::2], strict=True):
        shares = (
            f"{1e3 * bare:.1f} | {bare / best[0]:.2f} | {1e3 * full:.1f} | {full / best[1]:.2f}"
        )
        print(f"| {name} | {votes[name]} | {shares} |")


if __name__ == "__main__":
    main()
