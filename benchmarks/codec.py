"""What coding and following cost: `python benchmarks/codec.py`.

CPU time of this process, best of several batches, in MB of float32 parameters per CPU second. A
copy of the vector and its SHA-256 take turns with the codec in the same run, so that a busy machine
slows all alike: compare the ratios, which are times as long as a copy and as a hash.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count, islice

import numpy as np

from gossamer_transport.codec import Codec, Vector, decode, encode, snap
from gossamer_transport.delta import pack_delta, unpack_delta
from gossamer_transport.replica import Replica

SIZES = (4810, 1_000_000)
BATCHES = 15
BATCH_SECONDS = 0.01
BOUND = 1e4
SERIES = 16  # deltas that a follower applies before it starts anew


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    run: Callable[[], object]


def cases(difference: Vector) -> Iterator[Case]:
    rng = np.random.default_rng(0)
    for codec in Codec:
        name = codec.name.lower()
        coded = encode(codec, difference, rng)
        yield Case(f"{name} encode", partial(encode, codec, difference, rng))
        yield Case(f"{name} decode", partial(decode, coded, difference.size))
    yield Case("snap", partial(snap, difference))
    for codec in Codec:
        name = codec.name.lower()
        yield Case(f"{name} publish", publisher(codec, difference))
        yield Case(f"{name} unpack and apply", follower(codec, difference))


def walk(codec: Codec, difference: Vector) -> Iterator[bytes]:
    """Publish without end: code, advance the own replica, hash and pack, once per item."""
    replica = Replica(np.zeros_like(difference), codec, BOUND)
    rng = np.random.default_rng(0)
    for number in count(1):
        target = difference if number % 2 else -difference
        yield pack_delta(replica.publish(target, number, rng))


def publisher(codec: Codec, difference: Vector) -> Callable[[], object]:
    return partial(next, walk(codec, difference))


def follower(codec: Codec, difference: Vector) -> Callable[[], object]:
    """Return a call that unpacks the next delta and applies it: decode, add, check, hash."""
    deltas = list(islice(walk(codec, difference), SERIES))

    def apply_all() -> Iterator[bytes]:
        while True:
            replica = Replica(np.zeros_like(difference), codec, BOUND)
            for raw in deltas:
                replica.apply(unpack_delta(raw, difference.size, codec))
                yield replica.hash

    return partial(next, apply_all())


def batch_seconds(run: Callable[[], object], times: int) -> float:
    begin = time.process_time()
    for _ in range(times):
        run()
    return time.process_time() - begin


def measure(runs: list[Callable[[], object]]) -> list[float]:
    """Return CPU seconds per call of each; the calls take turns."""
    times = [max(1, int(BATCH_SECONDS / (batch_seconds(run, 3) / 3 + 1e-7))) for run in runs]
    best = [float("inf")] * len(runs)
    for _ in range(BATCHES):
        for index, run in enumerate(runs):
            best[index] = min(best[index], batch_seconds(run, times[index]) / times[index])
    return best


def main() -> None:
    print("| operation | parameters | CPU us | MB/s | times np.copyto | times SHA-256 |")
    print("|---|---:|---:|---:|---:|---:|")
    for size in SIZES:
        difference = np.random.default_rng(1).standard_normal(size, dtype=np.float32)
        target = np.empty_like(difference)
        bare = [
            Case("np.copyto", partial(np.copyto, target, difference)),
            Case("SHA-256", partial(hashlib.sha256, difference.data)),
        ]
        measured = [*bare, *cases(difference)]
        seconds = measure([case.run for case in measured])
        copy, digest = seconds[:2]
        for case, taken in zip(measured, seconds, strict=True):
            print(
                f"| {case.name} | {size} | {taken * 1e6:.1f} | {4 * size / taken / 1e6:.0f} "
                f"| {taken / copy:.1f} | {taken / digest:.2f} |"
            )


if __name__ == "__main__":
    main()
