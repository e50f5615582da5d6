"""Keys and signatures that a lenient verifier would let through.

The group arithmetic below is a second implementation of RFC 8032, section 5.1: slow, plain, and
used to make the malicious inputs and to say what they are.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import NamedTuple

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import example, given
from hypothesis import strategies as st

from gossamer_crypto.errors import IdentityError, Reason
from gossamer_crypto.identity import (
    SMALL_ORDER_ENCODINGS,
    Identity,
    PeerId,
    check_peer_id,
    parse_peer_id,
    peer_id_text,
    verify,
)
from gossamer_crypto.labels import CHECKPOINT, ENVELOPE_SIG

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
MESSAGE = b"the quick brown fox"


class Point(NamedTuple):
    x: int
    y: int


NEUTRAL = Point(0, 1)


def add(a: Point, b: Point) -> Point:
    product = D * a.x * b.x * a.y * b.y
    x = (a.x * b.y + b.x * a.y) * pow(1 + product, -1, P) % P
    y = (a.y * b.y + a.x * b.x) * pow(1 - product, -1, P) % P
    return Point(x, y)


def multiply(scalar: int, point: Point) -> Point:
    result = NEUTRAL
    for bit in bin(scalar)[2:]:
        result = add(result, result)
        if bit == "1":
            result = add(result, point)
    return result


def x_of(y: int) -> int | None:
    """The even root, or None where y is not on the curve."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * pow(2, (P - 1) // 4, P) % P
    if x * x % P != square:
        return None
    return P - x if x % 2 else x


def encode(point: Point) -> bytes:
    return (point.y | (point.x & 1) << 255).to_bytes(32, "little")


def base_point() -> Point:
    y = 4 * pow(5, -1, P) % P
    x = x_of(y)
    assert x is not None
    return Point(x, y)


B = base_point()


@cache
def torsion() -> Point:
    """A point of order eight: L times any point that is not in the prime-order group."""
    for y in range(2, 100):
        x = x_of(y)
        if x is not None:
            point = multiply(L, Point(x, y))
            if multiply(4, point) != NEUTRAL:
                return point
    raise AssertionError("unreachable")


def challenge(commitment: bytes, key: bytes, message: bytes) -> int:
    return int.from_bytes(hashlib.sha512(commitment + key + message).digest(), "little") % L


def identity() -> Identity:
    return Identity.from_seed(bytes(range(32)))


def test_a_seed_gives_the_key_and_signature_of_rfc_8032() -> None:
    seed = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
    signer = Identity.from_seed(seed)
    assert signer.peer_id.hex() == (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
    )
    # Test 2 signs the one byte 0x72: here the label is empty, which no real label is.
    assert signer.sign(b"", b"\x72").hex() == (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )


def test_a_signature_is_bound_to_message_label_and_signer() -> None:
    signer, other = identity(), Identity.generate()
    signature = signer.sign(ENVELOPE_SIG, MESSAGE)
    verify(signer.peer_id, ENVELOPE_SIG, MESSAGE, signature)
    for peer_id, label, message in (
        (other.peer_id, ENVELOPE_SIG, MESSAGE),
        (signer.peer_id, CHECKPOINT, MESSAGE),
        (signer.peer_id, ENVELOPE_SIG, MESSAGE + b"\0"),
    ):
        with pytest.raises(IdentityError) as caught:
            verify(peer_id, label, message, signature)
        assert caught.value.reason is Reason.BAD_SIGNATURE


@pytest.mark.parametrize("size", [0, 1, 63, 65, 128])
def test_a_signature_of_another_length_is_refused(size: int) -> None:
    signature = (identity().sign(ENVELOPE_SIG, MESSAGE) * 2)[:size]
    with pytest.raises(IdentityError) as caught:
        verify(identity().peer_id, ENVELOPE_SIG, MESSAGE, signature)
    assert caught.value.reason is Reason.BAD_SIGNATURE


@pytest.mark.parametrize("times", [1, 2, 15])
def test_a_signature_has_no_second_form_with_s_plus_l(times: int) -> None:
    signature = identity().sign(ENVELOPE_SIG, MESSAGE)
    s = int.from_bytes(signature[32:], "little") + times * L
    malleated = signature[:32] + s.to_bytes(32, "little")
    with pytest.raises(IdentityError) as caught:
        verify(identity().peer_id, ENVELOPE_SIG, MESSAGE, malleated)
    assert caught.value.reason is Reason.BAD_SIGNATURE


def test_the_deny_list_is_every_encoding_of_every_point_of_small_order() -> None:
    encodings = set()
    for times in range(8):
        point = multiply(times, torsion())
        signs = (0, 1) if point.x == 0 else (point.x & 1,)
        for y in (point.y, point.y + P):
            if y < 2**255:
                encodings |= {(y | sign << 255).to_bytes(32, "little") for sign in signs}
    assert encodings == SMALL_ORDER_ENCODINGS
    assert len(encodings) == 14


@pytest.mark.parametrize("raw", sorted(SMALL_ORDER_ENCODINGS), ids=bytes.hex)
def test_a_key_of_small_order_is_refused_though_a_forgery_verifies(raw: bytes) -> None:
    key = Ed25519PublicKey.from_public_bytes(raw)
    forged = None
    for tries in range(200):
        message = MESSAGE + bytes([tries])
        for times in range(8):
            candidate = encode(multiply(times, torsion())) + bytes(32)
            try:
                key.verify(candidate, ENVELOPE_SIG + message)
            except InvalidSignature:
                continue
            forged = (message, candidate)
            break
        if forged:
            break
    assert forged is not None, "the attack that this list is for no longer exists"
    with pytest.raises(IdentityError) as caught:
        verify(PeerId(raw), ENVELOPE_SIG, *forged)
    assert caught.value.reason is Reason.BAD_KEY
    with pytest.raises(IdentityError):
        check_peer_id(raw)


@pytest.mark.parametrize("excess", range(19))
@pytest.mark.parametrize("sign", [0, 1])
def test_a_key_with_y_of_p_or_more_is_refused(excess: int, sign: int) -> None:
    raw = (P + excess | sign << 255).to_bytes(32, "little")
    with pytest.raises(IdentityError) as caught:
        check_peer_id(raw)
    assert caught.value.reason is Reason.BAD_KEY


def test_a_key_is_accepted_exactly_if_its_y_is_on_the_curve() -> None:
    accepted = 0
    for y in range(2, 200):
        on_curve = x_of(y) is not None
        raw = y.to_bytes(32, "little")
        if on_curve:
            assert check_peer_id(raw) == raw
            accepted += 1
        else:
            with pytest.raises(IdentityError) as caught:
                check_peer_id(raw)
            assert caught.value.reason is Reason.BAD_KEY
    assert 50 < accepted < 150


@pytest.mark.parametrize("raw", [b"", b"\x05", bytes(31), bytes(33), bytes(64)])
def test_a_key_of_another_length_is_refused(raw: bytes) -> None:
    with pytest.raises(IdentityError) as caught:
        check_peer_id(raw)
    assert caught.value.reason is Reason.BAD_KEY


def test_verification_is_the_cofactorless_equation() -> None:
    """A key of mixed order tells the two equations apart; a swarm must know one of them only."""
    secret, nonce = 1234567, 7654321
    key = encode(add(multiply(secret, B), torsion()))
    commitment = encode(multiply(nonce, B))
    outcomes = set()
    for number in range(40):
        message = MESSAGE + bytes([number])
        k = challenge(commitment, key, ENVELOPE_SIG + message)
        signature = commitment + ((nonce + k * secret) % L).to_bytes(32, "little")
        expected = k % 8 == 0
        outcomes.add(expected)
        if expected:
            verify(PeerId(key), ENVELOPE_SIG, message, signature)
        else:
            with pytest.raises(IdentityError):
                verify(PeerId(key), ENVELOPE_SIG, message, signature)
    assert outcomes == {True, False}


def test_text_form_is_the_name_libp2p_gives_the_key() -> None:
    # From the libp2p specification of peer ids, section "Test vectors", Ed25519.
    public = bytes.fromhex("1ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e")
    text = "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq"
    assert peer_id_text(PeerId(public)) == text
    assert parse_peer_id(text) == public


@pytest.mark.parametrize(
    "text",
    [
        "",
        "12D3KooW",
        "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3p0",
        "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3p",
        "1" * 10_000_000,
        "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
        "12D3KooW\u00e9",
    ],
    ids=["empty", "prefix", "alphabet", "cut", "huge", "rsa", "unicode"],
)
def test_text_that_is_no_peer_id_is_refused(text: str) -> None:
    with pytest.raises(IdentityError) as caught:
        parse_peer_id(text)
    assert caught.value.reason is Reason.BAD_KEY


def test_the_length_of_text_is_looked_at_first() -> None:
    # Decoding base58 takes quadratic time: of this, minutes.
    with pytest.raises(IdentityError, match="too long"):
        parse_peer_id("z" * 1_000_000)


def test_text_with_white_space_around_is_refused() -> None:
    text = peer_id_text(identity().peer_id)
    for padded in (text + " ", " " + text, text + "\n"):
        with pytest.raises(IdentityError):
            parse_peer_id(padded)


def test_text_of_a_key_of_small_order_is_refused() -> None:
    with pytest.raises(IdentityError):
        parse_peer_id(peer_id_text(PeerId(b"\x01" + bytes(31))))


@given(st.binary(max_size=40) | st.binary(min_size=32, max_size=32))
@example(b"\xff" * 32)
def test_any_bytes_are_a_peer_id_or_an_identity_error(raw: bytes) -> None:
    try:
        peer_id = check_peer_id(raw)
    except IdentityError as error:
        assert error.reason is Reason.BAD_KEY
    else:
        assert parse_peer_id(peer_id_text(peer_id)) == raw


@given(st.text(max_size=70) | st.text("123456789ABCDKWabc", min_size=44, max_size=60))
def test_any_text_is_a_peer_id_or_an_identity_error(text: str) -> None:
    try:
        peer_id = parse_peer_id(text)
    except IdentityError as error:
        assert error.reason is Reason.BAD_KEY
    else:
        assert peer_id_text(peer_id) == text


def test_the_private_key_is_in_no_text_of_an_identity() -> None:
    seed = bytes(range(32))
    shown = repr(Identity.from_seed(seed)) + str(Identity.from_seed(seed))
    assert peer_id_text(identity().peer_id) in shown
    assert seed.hex() not in shown


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_seed_of_another_length_is_our_mistake(size: int) -> None:
    with pytest.raises(ValueError, match="32"):
        Identity.from_seed(bytes(size))
