from __future__ import annotations

import hashlib
import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer_agent.contract import Contract
from gossamer_agent.errors import ModelError

MLP = Contract("classification", 10, (64,), 4810)


def test_digest_is_that_of_the_documented_bytes() -> None:
    packed = bytes.fromhex(
        "0e636c617373696669636174696f6e"  # task, preceded by its length
        "0000000a"  # classes
        "0100000040"  # one dimension of 64
        "00000000000012ca"  # parameters
        "40c3880000000000"  # bound as float64
    )
    assert MLP.pack() == packed
    assert MLP.digest() == hashlib.sha256(b"gossamer/v1/contract\0" + packed).digest()


def test_every_field_changes_the_digest() -> None:
    others = [
        MLP,
        replace(MLP, classes=11),
        replace(MLP, input_shape=(8, 8)),
        replace(MLP, input_shape=(64, 1)),
        replace(MLP, parameters=4811),
        replace(MLP, bound=1e3),
    ]
    for one, other in itertools.combinations(others, 2):
        assert one.digest() != other.digest()


CONTRACTS = st.builds(
    Contract,
    st.just("classification"),
    st.integers(2, 1 << 16),
    st.lists(st.integers(1, 1 << 20), min_size=1, max_size=8).map(tuple),
    st.integers(1, 1 << 26),
    st.floats(1e-6, 1e30),
)


@given(CONTRACTS, CONTRACTS)
def test_packing_is_injective(one: Contract, other: Contract) -> None:
    assert (one.pack() == other.pack()) == (one == other)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"task": "ranking"}, "task"),
        ({"classes": 1}, "classes"),
        ({"classes": 1 << 17}, "classes"),
        ({"input_shape": ()}, "dimensions"),
        ({"input_shape": (1,) * 9}, "dimensions"),
        ({"input_shape": (64, 0)}, "dimension"),
        ({"parameters": 0}, "parameters"),
        ({"bound": 0.0}, "bound"),
        ({"bound": float("inf")}, "bound"),
        ({"bound": float("nan")}, "bound"),
    ],
)
def test_out_of_range_is_refused_by_name(change: dict[str, object], named: str) -> None:
    with pytest.raises(ModelError, match=named):
        replace(MLP, **change)  # type: ignore[arg-type]
