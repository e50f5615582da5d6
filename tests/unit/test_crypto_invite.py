"""Invites: read back from any spelling, refused when a character is wrong, keys to nothing."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import fields, replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer_crypto.errors import InviteError, Reason
from gossamer_crypto.identity import Identity, PeerId
from gossamer_crypto.invite import INVITE_CHARS_MAX, Invite, parse_invite

PEERS = tuple(Identity.from_seed(bytes([number]) * 32).peer_id for number in range(6))
INVITE = Invite(
    swarm_id=b"s" * 32,
    stewards=PEERS[:1],
    addresses=("/ip4/192.0.2.1/tcp/4001",),
    token=b"t" * 16,
)
TEXT = INVITE.text()


def written(*packed: object) -> str:
    raw = msgspec.msgpack.encode(packed)
    raw += hashlib.sha256(b"gossamer/v1/invite\0" + raw).digest()[:4]
    return "gossamer1" + base64.b32encode(raw).decode().rstrip("=").lower()


def refusal(text: str) -> Reason:
    with pytest.raises(InviteError) as caught:
        parse_invite(text)
    return caught.value.reason


def test_an_invite_survives_its_text_in_any_spelling() -> None:
    for text in (TEXT, TEXT.upper(), f"  {TEXT[:40]}\r\n\t{TEXT[40:90]} \n{TEXT[90:]}\n"):
        assert parse_invite(text) == INVITE
    assert (
        INVITE.token_id == hashlib.sha256(b"gossamer/v1/invite-token\0" + b"t" * 16).digest()[:16]
    )


def test_the_vector_of_the_specification() -> None:
    assert written(1, b"s" * 32, PEERS[0], b"/ip4/192.0.2.1/tcp/4001", b"t" * 16) == TEXT
    page = (Path(__file__).parents[2] / "docs/spec/invite.md").read_text(encoding="utf-8")
    assert TEXT in "".join(page.split())
    assert INVITE.token_id.hex() in page


def test_the_longest_invite_fits() -> None:
    addresses = tuple(f"/{number}" + "x" * 254 for number in range(4))
    longest = replace(INVITE, stewards=PEERS[:5], addresses=addresses)
    assert len(longest.text()) < INVITE_CHARS_MAX
    assert parse_invite(longest.text()) == longest


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("swarm_id", bytes(31)),
        ("token", bytes(15)),
        ("stewards", ()),
        ("stewards", PEERS),
        ("stewards", (PeerId(bytes(32)),)),
        ("addresses", ()),
        ("addresses", ("/a",) * 5),
        ("addresses", ("",)),
        ("addresses", ("ip4/1",)),
        ("addresses", ("/ip4/1 2",)),
        ("addresses", ("/ip4/1\n/ip4/2",)),
        ("addresses", ("/ip4/\x1b",)),
        ("addresses", ("/\u00e9",)),
        ("addresses", ("/" + "a" * 256,)),
    ],
)
def test_what_no_invite_says_is_refused(field: str, value: object) -> None:
    with pytest.raises(InviteError):
        replace(INVITE, **{field: value})  # type: ignore[arg-type]


def test_another_version_or_shape_is_refused() -> None:
    good = [1, b"s" * 32, PEERS[0], b"/ip4/192.0.2.1/tcp/4001", b"t" * 16]
    assert parse_invite(written(*good)) == INVITE
    for at, value in ((0, 2), (1, "s" * 32), (2, b""), (2, PEERS[0] + b"x"), (3, b"\xff"), (4, 1)):
        assert refusal(written(*good[:at], value, *good[at + 1 :])) is Reason.BAD_INVITE
    assert refusal(written(*good, 0)) is Reason.BAD_INVITE
    assert refusal(TEXT.replace("gossamer1", "gossamer2")) is Reason.BAD_INVITE
    assert refusal("x" * (INVITE_CHARS_MAX + 1)) is Reason.TOO_LARGE


@given(st.text(max_size=300) | st.text("abc234567= \n", max_size=300).map("gossamer1".__add__))
def test_any_text_raises_an_invite_error(text: str) -> None:
    with pytest.raises(InviteError):
        parse_invite(text)


@given(st.integers(0, len(TEXT) - 1), st.characters(exclude_categories=["Z", "C"]))
def test_one_wrong_character_is_noticed(at: int, character: str) -> None:
    altered = TEXT[:at] + character + TEXT[at + 1 :]
    if altered.lower() != TEXT:
        with pytest.raises(InviteError):
            parse_invite(altered)


def test_an_invite_alone_decrypts_nothing() -> None:
    names = {field.name for field in fields(Invite)}
    assert names == {"swarm_id", "stewards", "addresses", "token"}  # public, or random by itself
    assert replace(INVITE, token=b"u" * 16).token_id != INVITE.token_id


def test_no_text_form_but_the_invite_itself_shows_the_token() -> None:
    assert repr(INVITE.token) not in repr(INVITE)
    assert INVITE.token.hex() not in repr(INVITE)
