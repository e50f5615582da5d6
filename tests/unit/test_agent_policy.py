"""The policy: exact bytes that a genesis can pin, and one error for all others."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer_agent.policy import Policy
from gossamer_crypto.errors import GenesisError, Reason
from gossamer_crypto.genesis import POLICY_BYTES_MAX
from gossamer_transport.codec import Codec

SIZES = st.integers(1, 1024)
POLICIES = st.builds(
    Policy,
    rule=st.text(st.characters(codec="utf-8"), min_size=1, max_size=64),
    codec=st.sampled_from(Codec),
    view_size=SIZES,
    quorum=SIZES,
    turnover_rounds=SIZES,
    stale_rounds=SIZES,
)
FIELDS = (1, "median", 8, 8, 3, 10, 4)


def refusal(raw: bytes) -> Reason:
    with pytest.raises(GenesisError) as caught:
        Policy.unpack(raw)
    return caught.value.reason


def test_the_bytes_of_the_default_stay_what_they_are() -> None:
    """Another byte would be another swarm."""
    assert Policy().pack().hex() == "9701a8676f7373616d65720108030a04"


@given(POLICIES)
def test_a_policy_comes_back(policy: Policy) -> None:
    raw = policy.pack()
    assert Policy.unpack(raw) == policy
    assert len(raw) <= POLICY_BYTES_MAX
    assert isinstance(Policy.unpack(raw).codec, Codec)


@given(st.binary(max_size=64))
def test_arbitrary_bytes_raise_one_error(raw: bytes) -> None:
    with suppress(GenesisError):
        Policy.unpack(raw)


@given(POLICIES, st.integers(0), st.binary(max_size=4), st.integers(0, 4))
def test_a_damaged_policy_raises_one_error(policy: Policy, at: int, patch: bytes, cut: int) -> None:
    raw = policy.pack()
    at %= len(raw)
    with suppress(GenesisError):
        Policy.unpack(raw[:at] + patch + raw[at + cut :])


def test_every_cut_and_every_tail_is_refused() -> None:
    raw = Policy().pack()
    for size in range(len(raw)):
        assert refusal(raw[:size]) is Reason.BAD_GENESIS
    assert refusal(raw + b"\0") is Reason.BAD_GENESIS


@pytest.mark.parametrize(
    "fields",
    [
        (2, *FIELDS[1:]),
        (True, *FIELDS[1:]),
        (1, "", *FIELDS[2:]),
        (1, "m" * 65, *FIELDS[2:]),
        (1, b"median", *FIELDS[2:]),
        (1, "median", 4, *FIELDS[3:]),
        (1, "median", 8.0, *FIELDS[3:]),
        *((*FIELDS[:at], value, *FIELDS[at + 1 :]) for at in range(3, 7) for value in (0, 1025)),
        (*FIELDS, 4),
        FIELDS[:-1],
        dict(enumerate(FIELDS)),
        [list(FIELDS)],
    ],
    ids=repr,
)
def test_what_no_policy_says_is_refused(fields: object) -> None:
    assert refusal(msgspec.msgpack.encode(fields)) is Reason.BAD_GENESIS


def test_a_name_that_is_not_utf8_is_refused() -> None:
    raw = Policy(rule="median").pack().replace(b"median", b"\xff" * 6)
    assert refusal(raw) is Reason.BAD_GENESIS


def test_nesting_is_refused_at_its_first_byte() -> None:
    assert refusal(b"\x91" * 1_000_000) is Reason.BAD_GENESIS


def test_policies_that_differ_in_anything_differ_in_bytes() -> None:
    others = [
        replace(Policy(), rule="median"),
        replace(Policy(), codec=Codec.INT8),
        replace(Policy(), view_size=9),
        replace(Policy(), quorum=9),
        replace(Policy(), turnover_rounds=9),
        replace(Policy(), stale_rounds=9),
    ]
    assert len({policy.pack() for policy in (Policy(), *others)}) == 7
