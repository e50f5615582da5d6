"""Prekeys: signed by their owner, one name each, safe to wrap to."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer_crypto.errors import IdentityError, Reason
from gossamer_crypto.identity import Identity, PeerId
from gossamer_crypto.prekey import PrekeySecret

OWNER = Identity.from_seed(b"o" * 32)
SECRET = PrekeySecret.from_bytes(b"p" * 32)
PREKEY = SECRET.sign(OWNER)
P = 2**255 - 19
# RFC 7748, section 7: the u of the points whose order divides eight.
SMALL_ORDER = (
    0,
    1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
    P - 1,
)


def test_a_prekey_survives_its_bytes_and_verifies() -> None:
    again = PrekeySecret.from_bytes(SECRET.to_bytes())
    assert again.public == SECRET.public == PREKEY.public
    assert PREKEY.owner == OWNER.peer_id
    PREKEY.verify()
    assert PrekeySecret.generate().public != PrekeySecret.generate().public


@pytest.mark.parametrize("u", [*SMALL_ORDER, P, P + 1, 2**255 - 1, 2**255 + 9])
def test_points_of_small_order_and_second_names_are_refused(u: int) -> None:
    with pytest.raises(IdentityError) as caught:
        replace(PREKEY, public=u.to_bytes(32, "little")).verify()
    assert caught.value.reason is Reason.BAD_KEY


def test_the_signature_is_the_owners_and_of_this_key() -> None:
    other = Identity.from_seed(b"x" * 32).peer_id
    another = PrekeySecret.from_bytes(b"q" * 32).public
    for forged in (replace(PREKEY, owner=other), replace(PREKEY, public=another)):
        with pytest.raises(IdentityError) as caught:
            forged.verify()
        assert caught.value.reason is Reason.BAD_SIGNATURE


@given(st.binary(max_size=40), st.binary(max_size=40), st.binary(max_size=70))
def test_any_fields_raise_an_identity_error(owner: bytes, public: bytes, signature: bytes) -> None:
    with pytest.raises(IdentityError):
        replace(PREKEY, owner=PeerId(owner), public=public, signature=signature).verify()


def test_no_text_form_shows_the_secret() -> None:
    assert SECRET.to_bytes().hex() not in repr(SECRET)
    assert repr(SECRET.to_bytes()) not in repr(SECRET)
