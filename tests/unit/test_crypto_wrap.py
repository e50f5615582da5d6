"""Wraps: one secret, one prekey, one place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer_crypto.epoch import wrap_info
from gossamer_crypto.errors import EpochError, IdentityError, Reason
from gossamer_crypto.identity import PeerId
from gossamer_crypto.prekey import PrekeySecret
from gossamer_crypto.wrap import WRAP_BYTES, unwrap_secret, wrap_secret

SECRET = b"e" * 32
PREKEY = PrekeySecret.from_bytes(b"p" * 32)
INFO = wrap_info(b"s" * 32, 1, PeerId(b"m" * 32), b"r" * 32)
WRAPPED = wrap_secret(SECRET, PREKEY.public, INFO)


def test_the_owner_of_the_prekey_unwraps_the_secret() -> None:
    assert len(WRAPPED) == WRAP_BYTES
    assert unwrap_secret(WRAPPED, PREKEY, INFO) == SECRET
    assert wrap_secret(SECRET, PREKEY.public, INFO) != WRAPPED


def test_another_prekey_or_place_unwraps_nothing() -> None:
    places = [
        wrap_info(b"t" * 32, 1, PeerId(b"m" * 32), b"r" * 32),
        wrap_info(b"s" * 32, 2, PeerId(b"m" * 32), b"r" * 32),
        wrap_info(b"s" * 32, 1, PeerId(b"n" * 32), b"r" * 32),
        wrap_info(b"s" * 32, 1, PeerId(b"m" * 32), b"q" * 32),
    ]
    for info in places:
        with pytest.raises(EpochError):
            unwrap_secret(WRAPPED, PREKEY, info)
    with pytest.raises(EpochError) as caught:
        unwrap_secret(WRAPPED, PrekeySecret.from_bytes(b"q" * 32), INFO)
    assert caught.value.reason is Reason.UNDECRYPTABLE


def test_only_secrets_are_wrapped_and_only_to_safe_prekeys() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        wrap_secret(bytes(31), PREKEY.public, INFO)
    with pytest.raises(IdentityError):
        wrap_secret(SECRET, bytes(32), INFO)


@given(st.binary(max_size=100) | st.binary(min_size=80, max_size=80))
def test_any_bytes_raise_an_epoch_error(raw: bytes) -> None:
    with pytest.raises(EpochError):
        unwrap_secret(raw, PREKEY, INFO)


@given(st.integers(0, WRAP_BYTES * 8 - 1))
def test_each_flipped_bit_is_refused(bit: int) -> None:
    altered = bytearray(WRAPPED)
    altered[bit // 8] ^= 1 << bit % 8
    if bit == 255:  # X25519 ignores the top bit of u, but HPKE hashes the encapsulated key
        assert altered[31] & 0x80
    with pytest.raises(EpochError):
        unwrap_secret(bytes(altered), PREKEY, INFO)
