"""Genesis: one encoding, one swarm id, one kind of refusal."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer_crypto.errors import GenesisError, Reason
from gossamer_crypto.genesis import GENESIS_BYTES_MAX, POLICY_BYTES_MAX, Genesis
from gossamer_crypto.identity import Identity, PeerId

PEERS = tuple(Identity.from_seed(bytes([number]) * 32).peer_id for number in range(6))
GENESIS = Genesis(
    name="greenhouse",
    stewards=PEERS[:2],
    contract=b"c" * 32,
    model_sha256=b"m" * 32,
    policy=b"gossamer",
    nonce=b"n" * 32,
)


def packed(*fields: object) -> bytes:
    return msgspec.msgpack.encode(fields)


def fields() -> list[object]:
    stewards = b"".join(GENESIS.stewards)
    return [1, b"greenhouse", stewards, b"c" * 32, b"m" * 32, b"gossamer", b"n" * 32]


def refusal(raw: bytes) -> Reason:
    with pytest.raises(GenesisError) as caught:
        Genesis.unpack(raw)
    return caught.value.reason


def test_what_is_packed_unpacks_to_the_same() -> None:
    assert GENESIS.pack() == packed(*fields())
    assert Genesis.unpack(GENESIS.pack()) == GENESIS
    assert Genesis.unpack(GENESIS.pack()).swarm_id == GENESIS.swarm_id


def test_the_largest_genesis_fits() -> None:
    largest = replace(GENESIS, name="n" * 64, stewards=PEERS[:5], policy=bytes(POLICY_BYTES_MAX))
    assert len(largest.pack()) <= GENESIS_BYTES_MAX
    assert Genesis.unpack(largest.pack()) == largest


@given(
    name=st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=16),
    count=st.integers(1, 5),
    policy=st.binary(max_size=POLICY_BYTES_MAX),
    nonce=st.binary(min_size=32, max_size=32),
)
def test_every_valid_genesis_survives_the_round_trip(
    name: str, count: int, policy: bytes, nonce: bytes
) -> None:
    genesis = replace(GENESIS, name=name, stewards=PEERS[:count], policy=policy, nonce=nonce)
    assert Genesis.unpack(genesis.pack()) == genesis


def test_every_field_changes_the_swarm_id() -> None:
    variants = [
        GENESIS,
        replace(GENESIS, name="glasshouse"),
        replace(GENESIS, stewards=PEERS[:3]),
        replace(GENESIS, stewards=PEERS[1::-1]),
        replace(GENESIS, contract=b"d" * 32),
        replace(GENESIS, model_sha256=b"d" * 32),
        replace(GENESIS, policy=b""),
        replace(GENESIS, nonce=b"d" * 32),
    ]
    assert len({genesis.swarm_id for genesis in variants}) == len(variants)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "n" * 65),
        ("name", "\u00e9" * 33),
        ("name", "two\nlines"),
        ("name", "esc\x1b[31m"),
        ("name", "tele\u202ephone"),
        ("name", "zero\u200bwidth"),
        ("name", "\ud800"),
        ("stewards", ()),
        ("stewards", PEERS),
        ("stewards", (PEERS[0], PEERS[0])),
        ("stewards", (PeerId(bytes(32)),)),
        ("stewards", (PeerId(b"short"),)),
        ("contract", bytes(31)),
        ("model_sha256", bytes(33)),
        ("nonce", b""),
        ("policy", bytes(POLICY_BYTES_MAX + 1)),
    ],
)
def test_terms_out_of_bounds_are_refused(field: str, value: object) -> None:
    with pytest.raises(GenesisError) as caught:
        replace(GENESIS, **{field: value})  # type: ignore[arg-type]
    assert caught.value.reason is Reason.BAD_GENESIS


@pytest.mark.parametrize(
    ("position", "value"),
    [
        (0, 2),
        (0, True),
        (0, 1.0),
        (0, b"1"),
        (1, "greenhouse"),
        (1, b"\xff\xfe"),
        (2, b"".join(PEERS[:2]) + b"\0"),
        (2, list(PEERS[:2])),
        (3, None),
        (4, {}),
        (5, []),
        (6, 7),
    ],
)
def test_a_field_of_another_type_or_shape_is_refused(position: int, value: object) -> None:
    altered = fields()
    altered[position] = value
    assert refusal(packed(*altered)) is Reason.BAD_GENESIS


def test_another_number_of_fields_is_refused() -> None:
    assert refusal(packed(*fields()[:-1])) is Reason.BAD_GENESIS
    assert refusal(packed(*fields(), b"")) is Reason.BAD_GENESIS


def test_a_second_encoding_of_the_same_terms_is_refused() -> None:
    raw = GENESIS.pack()
    assert raw[:2] == b"\x97\x01"
    for variant in (
        b"\x97\xcc\x01" + raw[2:],  # the version as uint8
        b"\xdc\x00\x07" + raw[1:],  # the array with a 16-bit length
        raw.replace(b"\xc4\x08gossamer", b"\xc5\x00\x08gossamer"),
        raw + b"\0",
    ):
        assert variant != raw
        assert refusal(variant) is Reason.BAD_GENESIS


@pytest.mark.parametrize(
    "raw",
    [b"", b"\x97", b"\x91" * 4000, b"\x97\x01\xc6\xff\xff\xff\xff", b"\xdd\xff\xff\xff\xff"],
    ids=["empty", "cut", "nested", "huge-bin", "huge-array"],
)
def test_crafted_bytes_are_refused(raw: bytes) -> None:
    assert refusal(raw) is Reason.BAD_GENESIS


def test_size_is_looked_at_first() -> None:
    assert refusal(b"\x90" * (GENESIS_BYTES_MAX + 1)) is Reason.TOO_LARGE


@given(st.binary(max_size=300))
def test_any_bytes_raise_a_genesis_error(raw: bytes) -> None:
    with pytest.raises(GenesisError):
        Genesis.unpack(raw)


@given(st.data())
def test_altered_bytes_are_refused_or_another_genesis(data: st.DataObject) -> None:
    raw = bytearray(GENESIS.pack())
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        genesis = Genesis.unpack(bytes(raw))
    except GenesisError:
        return
    assert genesis.pack() == raw
    assert (genesis == GENESIS) == (genesis.swarm_id == GENESIS.swarm_id)
