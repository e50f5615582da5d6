"""Join messages: the token is proved and not shown, both names sign, anything else is refused."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gossamer_crypto.errors import JoinError, Reason
from gossamer_crypto.identity import Identity
from gossamer_crypto.invite import Invite
from gossamer_crypto.join import (
    JOIN_ANSWER_BYTES_MAX,
    JOIN_REQUEST_BYTES_MAX,
    JoinAnswer,
    JoinRefusal,
    make_join_request,
    make_rotate_request,
    parse_join_answer,
    parse_join_request,
    parse_rotate_request,
)
from gossamer_crypto.prekey import PrekeySecret

STEWARD, JOINER, OLD, THIEF = (Identity.from_seed(bytes([number]) * 32) for number in range(1, 5))
SECRET = PrekeySecret.from_bytes(b"p" * 32)
PREKEY = SECRET.sign(JOINER)
INVITE = Invite(b"s" * 32, (STEWARD.peer_id,), ("/ip4/192.0.2.1/tcp/4001",), b"t" * 16)
JOIN = make_join_request(JOINER, PREKEY, INVITE, STEWARD.peer_id)
ROTATE = make_rotate_request(OLD, JOINER, PREKEY, b"s" * 32, STEWARD.peer_id)
Parser = Callable[[bytes], object]


def refusal(parse: Parser, raw: bytes) -> Reason:
    with pytest.raises(JoinError) as caught:
        parse(raw)
    return caught.value.reason


def test_a_request_proves_the_token_to_one_steward_and_does_not_show_it() -> None:
    request = parse_join_request(JOIN)
    assert (request.peer, request.prekey) == (JOINER.peer_id, PREKEY)
    assert (request.swarm_id, request.token_id) == (INVITE.swarm_id, INVITE.token_id)
    assert request.proves(INVITE.token, STEWARD.peer_id)
    assert not request.proves(b"u" * 16, STEWARD.peer_id)
    assert not request.proves(INVITE.token, THIEF.peer_id)
    assert INVITE.token not in JOIN
    assert len(JOIN) <= JOIN_REQUEST_BYTES_MAX


def test_a_request_under_anothers_name_or_prekey_is_refused() -> None:
    stolen = make_join_request(THIEF, PREKEY, INVITE, STEWARD.peer_id)
    assert refusal(parse_join_request, stolen) is Reason.BAD_SIGNATURE
    renamed = JOIN.replace(JOINER.peer_id, THIEF.peer_id)
    assert refusal(parse_join_request, renamed) is Reason.BAD_SIGNATURE


def test_old_and_new_sign_a_rotation() -> None:
    request = parse_rotate_request(ROTATE)
    assert (request.old, request.new) == (OLD.peer_id, JOINER.peer_id)
    assert (request.prekey, request.swarm_id) == (PREKEY, b"s" * 32)
    assert request.steward == STEWARD.peer_id
    for name in (OLD.peer_id, JOINER.peer_id):
        raw = ROTATE.replace(name, THIEF.peer_id)
        assert refusal(parse_rotate_request, raw) is Reason.BAD_SIGNATURE


def test_one_kind_is_never_read_as_the_other() -> None:
    assert refusal(parse_join_request, ROTATE) is Reason.BAD_REQUEST
    assert refusal(parse_rotate_request, JOIN) is Reason.BAD_REQUEST


@pytest.mark.parametrize(
    "answer",
    [
        JoinAnswer(None, b"genesis", (b"one", b"two")),
        *(JoinAnswer(refusal, b"", ()) for refusal in JoinRefusal),
    ],
    ids=str,
)
def test_an_answer_survives_its_bytes(answer: JoinAnswer) -> None:
    assert parse_join_answer(answer.pack()) == answer


def test_size_is_looked_at_first() -> None:
    for parse, size in (
        (parse_join_request, JOIN_REQUEST_BYTES_MAX),
        (parse_rotate_request, JOIN_REQUEST_BYTES_MAX),
        (parse_join_answer, JOIN_ANSWER_BYTES_MAX),
    ):
        assert refusal(parse, bytes(size + 1)) is Reason.TOO_LARGE
        assert refusal(parse, b"\x91" * size) is Reason.BAD_REQUEST


PARSERS = st.sampled_from([parse_join_request, parse_rotate_request, parse_join_answer])


@given(PARSERS, st.binary(max_size=300))
def test_any_bytes_raise_a_join_error(parse: Parser, raw: bytes) -> None:
    with pytest.raises(JoinError):
        parse(raw)


@given(st.sampled_from([(parse_join_request, JOIN), (parse_rotate_request, ROTATE)]), st.data())
def test_each_altered_request_is_refused(pair: tuple[Parser, bytes], data: st.DataObject) -> None:
    parse, raw = pair
    altered = bytearray(raw)
    for _ in range(data.draw(st.integers(1, 3))):
        altered[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    assume(altered != raw)
    with pytest.raises(JoinError):
        parse(bytes(altered))


@given(st.data())
def test_an_altered_answer_is_refused_or_another(data: st.DataObject) -> None:
    raw = bytearray(JoinAnswer(None, b"genesis", (b"one", b"two")).pack())
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    with suppress(JoinError):
        assert parse_join_answer(bytes(raw)).pack() != b""
