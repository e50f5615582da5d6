"""HELLO: bounded on both sides, one error type, and what was packed comes back."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer_crypto.errors import Reason
from gossamer_transport.errors import WireError
from gossamer_transport.hello import (
    HELLO_FRAMES_MAX,
    HELLO_REQUEST_BYTES_MAX,
    HELLO_RESPONSE_BYTES_MAX,
    HELLO_ROSTER_MAX,
    HelloRequest,
    HelloResponse,
    HelloStanding,
    parse_hello_request,
    parse_hello_response,
    within,
)
from gossamer_transport.wire import AddressesFrame, AnnounceFrame, unpack_control

REQUEST = HelloRequest(
    swarm_id=bytes(range(32)),
    epoch=3,
    roster_len=12,
    roster_head=b"\x0a" * 32,
    unix_time=1_800_000_000,
    version="0.1.0",
)
RESPONSE = HelloResponse(
    swarm_id=bytes(range(32)),
    epoch=4,
    roster_len=14,
    roster_head=b"\x0b" * 32,
    unix_time=1_800_000_001,
    version="0.1.1",
    standing=HelloStanding.MEMBER,
    roster=(b"entry 12", b"entry 13"),
    frames=(b"frame",),
)
FIELDS = msgpack.unpackb(RESPONSE.pack())


def test_a_request_comes_back() -> None:
    assert parse_hello_request(REQUEST.pack()) == REQUEST
    assert len(REQUEST.pack()) < 150


def test_a_response_comes_back() -> None:
    assert parse_hello_response(RESPONSE.pack()) == RESPONSE
    empty = replace(RESPONSE, roster=(), frames=(), standing=HelloStanding.REMOVED)
    assert parse_hello_response(empty.pack()) == empty


def test_a_stranger_learns_the_swarm_and_nothing_else() -> None:
    swarm = b"\x07" * 32
    raw = HelloResponse.to_stranger(swarm).pack()
    assert msgpack.unpackb(raw) == [1, swarm, 0, 0, bytes(32), 0, b"", 0, 0]


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param([], id="empty"),
        pytest.param(FIELDS[:6], id="short"),
        pytest.param([1, b"", *FIELDS[2:]], id="no swarm id"),
        pytest.param([*FIELDS[:4], b"", *FIELDS[5:]], id="no roster head"),
        pytest.param([*FIELDS[:6], b"x" * 65, *FIELDS[7:]], id="a long version"),
        pytest.param([*FIELDS[:6], b"\x1b[2J", *FIELDS[7:]], id="a version for terminals"),
        pytest.param([*FIELDS[:7], 3, *FIELDS[8:]], id="no standing"),
        pytest.param([*FIELDS[:8], 4, *FIELDS[9:]], id="more entries than there are"),
        pytest.param([*FIELDS[:9], 5], id="an entry is an int"),
        pytest.param([*FIELDS[:8], 0, *[b""] * (HELLO_FRAMES_MAX + 1)], id="too many frames"),
        pytest.param(
            [*FIELDS[:8], HELLO_ROSTER_MAX + 1, *[b""] * (HELLO_ROSTER_MAX + 1)],
            id="too many entries",
        ),
    ],
)
def test_what_is_no_response_is_refused(fields: list[int | bytes]) -> None:
    with pytest.raises(WireError) as caught:
        parse_hello_response(msgpack.packb(fields))
    assert caught.value.reason is Reason.BAD_FRAME


def test_another_version_of_the_protocol_says_so() -> None:
    for parse, raw in (
        (parse_hello_request, REQUEST.pack()),
        (parse_hello_response, RESPONSE.pack()),
    ):
        with pytest.raises(WireError, match="protocol version 2") as caught:
            parse(msgpack.packb([2, *msgpack.unpackb(raw)[1:]]))
        assert caught.value.reason is Reason.UNEXPECTED


def test_the_size_is_checked_before_decoding() -> None:
    with pytest.raises(WireError) as caught:
        parse_hello_request(bytes(HELLO_REQUEST_BYTES_MAX + 1))
    assert caught.value.reason is Reason.TOO_LARGE
    with pytest.raises(WireError) as caught:
        parse_hello_response(bytes(HELLO_RESPONSE_BYTES_MAX + 1))
    assert caught.value.reason is Reason.TOO_LARGE


@pytest.mark.parametrize(
    "bomb",
    [
        b"\xdd" + (999_000).to_bytes(4, "big") + b"\x90" * 999_000,
        b"\xdd" + (999_000).to_bytes(4, "big") + b"\x01" * 999_000,
        b"\x91" * 999_000,
        b"\xdd\xff\xff\xff\xff" + b"\x01" * 900_000,
    ],
    ids=["lists", "ints", "depth", "4 G fields"],
)
def test_a_bomb_is_refused_cheaply(bomb: bytes) -> None:
    began = time.process_time()
    with pytest.raises(WireError):
        parse_hello_response(bomb)
    assert time.process_time() - began < 0.05


def test_an_odd_version_of_our_own_is_made_to_fit() -> None:
    raw = replace(REQUEST, version="ä" + "x" * 99).pack()
    assert parse_hello_request(raw).version == "?" + "x" * 63


@given(st.lists(st.binary(max_size=50)), st.integers(0, 300), st.integers(0, 9))
def test_within_keeps_a_beginning_that_fits(
    parts: list[bytes], bytes_max: int, count_max: int
) -> None:
    kept = within(parts, bytes_max, count_max)
    assert list(kept) == parts[: len(kept)]
    assert len(kept) <= count_max
    assert sum(len(msgpack.packb(part)) for part in kept) <= bytes_max


@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_refused_with_one_type(raw: bytes) -> None:
    for parse in (parse_hello_request, parse_hello_response):
        try:
            hello = parse(raw)
        except WireError:
            continue
        assert parse(hello.pack()) == hello


@settings(max_examples=100)
@given(
    edits=st.lists(st.tuples(st.integers(0, 999), st.integers(0, 255)), max_size=3),
    cut=st.none() | st.integers(0, 200),
)
def test_altered_responses_are_one_or_are_refused_with_one_type(
    edits: list[tuple[int, int]], cut: int | None
) -> None:
    altered = bytearray(RESPONSE.pack())
    for position, value in edits:
        altered[position % len(altered)] = value
    try:
        hello = parse_hello_response(bytes(altered[:cut]))
    except WireError:
        return
    assert parse_hello_response(hello.pack()) == hello


VECTORS = json.loads(
    (Path(__file__).parent.parent / "vectors" / "codec.json").read_text(encoding="utf-8")
)["hello"]


def test_the_vectors_of_the_spec() -> None:
    request = parse_hello_request(bytes.fromhex(VECTORS["request"]))
    assert (request.roster_len, request.roster_head) == (2, b"\x55" * 32)
    assert request.pack().hex() == VECTORS["request"]
    response = parse_hello_response(bytes.fromhex(VECTORS["response"]))
    assert response.roster == (b"entry 2", b"entry 3")
    announced, addresses = map(unpack_control, response.frames)
    assert isinstance(announced, AnnounceFrame)
    announced.head.verify()
    assert isinstance(addresses, AddressesFrame)
    assert addresses.peer == announced.head.header.author
    stranger = HelloResponse.to_stranger(request.swarm_id).pack()
    assert stranger.hex() == VECTORS["to a stranger"]
