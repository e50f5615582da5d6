"""Message keys: the right derivation, and every input in it."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from gossamer_crypto.epoch import FixedEpoch, derive_message_keys
from gossamer_crypto.identity import PeerId
from gossamer_crypto.labels import ENVELOPE_KEY

SECRET, SWARM, AUTHOR, SALT = (bytes([byte]) * 32 for byte in (1, 2, 3, 4))


def expand(secret: bytes, info: bytes, size: int) -> bytes:
    """RFC 5869, section 2.3, word for word."""
    output, block = b"", b""
    for counter in range(1, 1 + -(-size // 32)):
        block = hmac.new(secret, block + info + bytes([counter]), hashlib.sha256).digest()
        output += block
    return output[:size]


def test_keys_are_hkdf_expand_of_the_epoch_secret() -> None:
    keys = derive_message_keys(SECRET, SWARM, 7, PeerId(AUTHOR), SALT)
    info = ENVELOPE_KEY + SWARM + (7).to_bytes(8, "big") + AUTHOR + SALT
    assert b"".join(keys) == expand(SECRET, info, 76)
    assert [len(part) for part in keys] == [32, 12, 32]


def test_every_input_changes_every_key() -> None:
    base = derive_message_keys(SECRET, SWARM, 7, PeerId(AUTHOR), SALT)
    other = bytes(32)
    for changed in (
        derive_message_keys(other, SWARM, 7, PeerId(AUTHOR), SALT),
        derive_message_keys(SECRET, other, 7, PeerId(AUTHOR), SALT),
        derive_message_keys(SECRET, SWARM, 8, PeerId(AUTHOR), SALT),
        derive_message_keys(SECRET, SWARM, 7, PeerId(other), SALT),
        derive_message_keys(SECRET, SWARM, 7, PeerId(AUTHOR), other),
    ):
        assert not set(changed) & set(base)


@pytest.mark.parametrize("position", range(4))
@pytest.mark.parametrize("size", [0, 31, 33])
def test_an_input_of_another_length_is_our_mistake(position: int, size: int) -> None:
    parts = [SECRET, SWARM, AUTHOR, SALT]
    parts[position] = bytes(size)
    secret, swarm, author, salt = parts
    with pytest.raises(ValueError, match="32 bytes"):
        derive_message_keys(secret, swarm, 0, PeerId(author), salt)


def test_a_fixed_epoch_has_one_secret() -> None:
    keys = FixedEpoch(SECRET, epoch=3)
    assert keys.current == 3
    assert keys.secret(3) == SECRET
    assert keys.secret(2) is None
    assert keys.secret(4) is None


def test_a_fixed_epoch_refuses_what_is_no_secret_or_no_epoch() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        FixedEpoch(bytes(31))
    for epoch in (-1, 2**64):
        with pytest.raises(ValueError, match="64 bits"):
            FixedEpoch(SECRET, epoch)


def test_no_text_form_shows_a_secret() -> None:
    keys = derive_message_keys(SECRET, SWARM, 7, PeerId(AUTHOR), SALT)
    for shown in (repr(FixedEpoch(SECRET)), repr(keys), str(keys)):
        for hidden in (SECRET, keys.key, keys.nonce):
            assert repr(hidden) not in shown
            assert hidden.hex() not in shown
