"""Whatever peers send, a merge gives a finite vector: hundreds of hostile tensors for each rule."""

from __future__ import annotations

import tracemalloc
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gossamer_agent.merge import BOUND, ONE_VOTE, MergeInput, is_usable, merge, rule_names
from gossamer_crypto.identity import PeerId

PEERS = [PeerId(bytes([number]) * 32) for number in range(1, 34)]
MERGES = 100
LIARS = 4
"""Of nine: more than any rule promises to stand."""

START = np.linspace(-1, 1, 64, dtype=np.float32)

assert MERGES * LIARS * len(rule_names()) >= 10_000

Rng = np.random.Generator


def any_bits(rng: Rng, size: int) -> np.ndarray:
    return rng.integers(0, 2**32, size, dtype=np.uint32).view(np.float32)


def denormals(rng: Rng, size: int) -> np.ndarray:
    bits = rng.integers(0, 2**23, size, dtype=np.uint32) | rng.choice(
        np.array([0, 2**31], np.uint32), size
    )
    return bits.view(np.float32)


def one_outlier(rng: Rng, size: int) -> np.ndarray:
    vector = np.zeros(size, np.float32)
    vector[rng.integers(size)] = rng.choice([BOUND, -BOUND, 1e-45, 3e38, np.nan, np.inf])
    return vector


def constant(*values: float) -> Callable[[Rng, int], np.ndarray]:
    """Vectors that repeat the values, which begin anywhere."""

    def vector(rng: Rng, size: int) -> np.ndarray:
        return np.resize(np.roll(np.array(values, np.float32), rng.integers(len(values))), size)

    return vector


LIES = (
    any_bits,
    denormals,
    one_outlier,
    constant(np.nan),
    constant(-np.nan, 0.0),
    constant(np.inf),
    constant(-np.inf, np.inf),
    constant(0.0),
    constant(-0.0),
    constant(0.0, -0.0),
    constant(3e38, -3e38),
    constant(3.4028235e38),
    constant(BOUND),
    constant(BOUND, -BOUND),
    constant(np.nextafter(np.float32(BOUND), np.float32(np.inf)), 0.0),
    constant(1e-45, -1e-45),
    constant(1e-30, 9.9e-31, 1.1754944e-38),
    constant(1e4, 1e-38, 1.0, 1e-20),
    constant(0.1),
)


def rows_with_lies(rng: Rng, count: int = 9) -> list[np.ndarray]:
    """Rows of which all but the first may be lies; honest ones are near, equal, zero or extreme."""
    size = int(rng.choice([1, 2, 7, 64]))
    spread, centre = rng.choice([0.0, 1e-40, 0.1, 1.0, 3000.0]), rng.choice([0.0, -0.0, 0.5, 5e3])
    rows = [(centre + spread * rng.uniform(-1, 1, size)).astype(np.float32) for _ in range(count)]
    lie = LIES[rng.integers(len(LIES))]
    for liar in range(1, LIARS + 1):
        rows[liar] = (lie if rng.random() < 0.5 else LIES[rng.integers(len(LIES))])(rng, size)
    if rng.random() < 0.3:  # colluders send copies
        rows[2] = rows[1]
    return rows


@pytest.mark.parametrize("rule", rule_names())
def test_no_rule_gives_up_or_gives_what_is_not_finite(rule: str) -> None:
    rng = np.random.default_rng(zlib.crc32(rule.encode()))
    for _ in range(MERGES):
        rows = rows_with_lies(rng)
        inputs = [MergeInput(peer, row) for peer, row in zip(PEERS, rows, strict=False)]
        initial = START[: rows[0].size] if rng.random() < 0.5 else rows[0]
        merged = merge(
            rule, inputs, PEERS[0], initial=initial, loss_of=lambda vector: float(abs(vector[0]))
        )
        usable = np.array([is_usable(row, BOUND) for row in rows])
        assert merged.vector.dtype == np.float32
        assert np.isfinite(merged.vector).all()
        assert (np.abs(merged.vector) <= 1.001 * BOUND).all()
        sizes = np.abs(merged.vector[merged.vector != 0])
        assert (sizes >= np.float32(1e-30)).all(), "a denormal came through"
        assert not np.signbit(merged.vector[merged.vector == 0]).any()
        assert (merged.votes >= 0).all()
        assert not merged.votes[~usable].any()
        assert np.isfinite(merged.clip).all()
        assert not np.isnan(merged.distances).any()
        assert np.isfinite(merged.radius)


@pytest.mark.parametrize("rule", rule_names())
def test_values_at_the_largest_bound(rule: str) -> None:
    """Differences are twice as large, and their squares 10^60."""
    rng = np.random.default_rng(1)
    rows = [rng.choice([1e30, -1e30, 0.0, 1e-30], 50).astype(np.float32) for _ in range(9)]
    rows = [np.clip(row, -9.99e29, 9.99e29).astype(np.float32) for row in rows]
    inputs = [MergeInput(peer, row) for peer, row in zip(PEERS, rows, strict=False)]
    merged = merge(rule, inputs, PEERS[0], bound=1e30, initial=rows[3], loss_of=lambda _: 1.0)
    assert np.isfinite(merged.vector).all()


@settings(max_examples=200, deadline=None)
@given(
    hnp.arrays(np.uint32, st.tuples(st.integers(2, 8), st.integers(1, 5))),
    st.sampled_from(["gossamer", "median", "trimmed-mean", "nnm+krum"]),
)
def test_rows_of_any_bits(bits: np.ndarray, rule: str) -> None:
    own = np.zeros(bits.shape[1], np.float32)
    inputs = [MergeInput(PEERS[0], own)]
    inputs += [
        MergeInput(peer, row) for peer, row in zip(PEERS[1:], bits.view(np.float32), strict=False)
    ]
    assert np.isfinite(merge(rule, inputs, PEERS[0], initial=own + 1).vector).all()


@pytest.mark.parametrize("bound", [1e4, 0.1, 1e30, 1e-40, 1.0])
def test_usable_is_finite_and_within_the_bound(bound: float) -> None:
    limit = np.float32(bound)
    beside = [np.nextafter(limit, np.float32(side)) for side in (-np.inf, np.inf)]
    numbers = np.array([0.0, 1e-45, limit, *beside], np.float32)
    not_numbers = np.array([0x7F800000, 0x7F800001, 0x7FC00000], np.uint32).view(np.float32)
    values = np.concatenate([numbers, not_numbers])
    for value in [*values, *-values]:
        vector = np.array([0.0, value], np.float32)
        wide = float(value)
        assert is_usable(vector, bound) == (-bound <= wide <= bound)


@pytest.mark.parametrize("value", [np.nan, -np.inf, 2.0, -2.0])
def test_one_unusable_value_anywhere_is_seen(value: float) -> None:
    vector = np.zeros(300_000, np.float32)
    assert is_usable(vector, 1.0)
    for position in (0, 131_071, 131_072, 299_999):
        spoiled = vector.copy()
        spoiled[position] = value
        assert not is_usable(spoiled, 1.0)
        assert not is_usable(spoiled[::-1], 1.0)


@pytest.mark.parametrize("count", [9, 21])
@pytest.mark.parametrize("clones", [1, 2])
@pytest.mark.parametrize("known", [False, True])
def test_memory_of_a_merge_is_at_most_three_vectors_besides_its_inputs(
    count: int, clones: int, known: bool
) -> None:
    """Also where progress is known, and with it most votes are unlike."""
    size = 1_000_000
    values = np.random.default_rng(0).normal(size=size + count).astype(np.float32)
    rows = [values[shift : shift + size].copy() for shift in range(count)]
    for clone in range(1, clones):  # near copies: of equal ones only one would be looked at
        rows[clone] = rows[0] + np.float32(1e-3)
    inputs = [MergeInput(peer, row) for peer, row in zip(PEERS, rows, strict=False)]
    initial = values[:size] - 1 if known else None
    tracemalloc.start()
    try:
        merged = merge("gossamer", inputs, PEERS[0], initial=initial)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (merged.votes[0] == ONE_VOTE) == (clones == 1)
    assert peak <= 3 * 4 * size
