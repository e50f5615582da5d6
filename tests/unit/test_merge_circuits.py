"""Circuits of minima and maxima: right for all zeros and ones, and never longer than need be."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from gossamer_agent.merge.circuits import Circuit, compile_quantiles
from gossamer_agent.merge.networks import compile_network

SHARES = ((2, 5), (1, 2), (3, 5))
ONE = 1 << 16


def compiled(votes: tuple[int, ...], shares: tuple[tuple[int, int], ...] = SHARES) -> Circuit:
    circuit = compile_quantiles(votes, shares)
    assert circuit is not None
    return circuit


def run(circuit: Circuit, columns: np.ndarray) -> np.ndarray:
    rows, network = circuit
    assert network.inputs == len(columns)
    assert sorted(rows) == list(range(len(columns)))
    slots = [columns[row] for row in rows]
    slots += list(np.zeros((network.scratch, columns.shape[1]), columns.dtype))
    for is_maximum, left, right, out in network.operations:
        assert out >= network.inputs, "an input was overwritten"
        slots[out] = (np.maximum if is_maximum else np.minimum)(slots[left], slots[right])
    return np.array([slots[slot] for slot in network.results])


def check_all_zeros_and_ones(votes: tuple[int, ...], shares: tuple[tuple[int, int], ...]) -> None:
    """What selects from all columns of zeros and ones selects from all columns: it is monotone."""
    numbers = np.arange(1 << len(votes), dtype=np.uint32)
    columns = np.array([(numbers >> row) & 1 for row in range(len(votes))], np.uint8)
    zeros = (np.array(votes)[:, None] * (columns == 0)).sum(axis=0)
    for quantile, (part, whole) in zip(run(compiled(votes, shares), columns), shares, strict=True):
        np.testing.assert_array_equal(quantile, whole * zeros < part * sum(votes))


@pytest.mark.parametrize("count", range(1, 13))
def test_equal_votes(count: int) -> None:
    check_all_zeros_and_ones((ONE,) * count, SHARES)


@pytest.mark.parametrize("count", range(1, 6))
def test_all_small_votes(count: int) -> None:
    """Sums that are exactly a share are among them."""
    for votes in itertools.product((1, 2, 3, 5), repeat=count):
        check_all_zeros_and_ones(votes, SHARES)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("count", [7, 9, 11])
def test_few_and_many_unlike_votes(count: int, seed: int) -> None:
    rng = np.random.default_rng([count, seed])
    votes = np.full(count, ONE)
    lighter = int(rng.integers(1, count + 1))
    votes[:lighter] = rng.integers(1, ONE, lighter)
    shuffled = tuple(int(vote) for vote in rng.permutation(votes))
    check_all_zeros_and_ones(shuffled, SHARES)
    check_all_zeros_and_ones(shuffled, ((1, 1000), (int(rng.integers(1, 100)), 100), (1, 1)))


@pytest.mark.parametrize("count", [1, 2, 5, 9, 15, 33, 65])
def test_equal_votes_take_the_network_of_their_ranks(count: int) -> None:
    ranks = tuple(-(-count * part // whole) - 1 for part, whole in SHARES)
    network = compiled((7,) * count).network
    assert len(network.operations) == len(compile_network(count, ranks).operations)


@pytest.mark.parametrize(
    "votes",
    [
        [ONE] * 8 + [5000],
        [ONE] * 8 + [ONE - 1],
        [ONE] * 7 + [ONE // 2] * 2,
        [ONE] * 6 + [65510, 10950],
        [ONE] * 5 + [ONE // 4] * 4,
    ],
)
def test_lighter_rows_are_no_dearer_than_equal_ones(votes: list[int]) -> None:
    equal = compiled((ONE,) * len(votes)).network
    assert len(compiled(tuple(votes)).network.operations) <= 1.05 * len(equal.operations)


def test_differences_that_never_matter_cost_nothing() -> None:
    """Of nine rows with nearly equal votes any five have more than half, and no four."""
    nearly = tuple(ONE - difference for difference in range(9))
    assert compiled(nearly, ((1, 2),)).network == compiled((1,) * 9, ((1, 2),)).network


def test_a_row_that_is_never_needed_is_not_read() -> None:
    network = compiled((ONE, ONE, ONE, 1), ((1, 2),)).network
    assert len(network.operations) == 4


def test_nine_unlike_rows_have_a_circuit_and_dozens_have_none() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        votes = tuple(int(vote) for vote in rng.integers(1, ONE, 9))
        assert len(compiled(votes).network.operations) <= 160
    assert compile_quantiles(tuple(range(1000, 1024)), SHARES) is None
