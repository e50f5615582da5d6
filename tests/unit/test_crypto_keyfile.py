"""The key file: for its owner alone, whole or not there, one line when it cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gossamer_crypto.errors import KeyFileError
from gossamer_crypto.identity import Identity
from gossamer_crypto.keyfile import PREKEYS_MAX, Keys, is_encrypted, load_keys, save_keys
from gossamer_crypto.prekey import PrekeySecret

KEYS = Keys(
    Identity.from_seed(b"i" * 32),
    (PrekeySecret.from_bytes(b"new!" * 8), PrekeySecret.from_bytes(b"old!" * 8)),
)
NO_FIXTURE_RESET = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def same(one: Keys, other: Keys) -> bool:
    return one.identity.peer_id == other.identity.peer_id and [
        prekey.to_bytes() for prekey in one.prekeys
    ] == [prekey.to_bytes() for prekey in other.prekeys]


def complaint(path: Path, passphrase: str | None = None) -> str:
    with pytest.raises(KeyFileError) as caught:
        load_keys(path, passphrase)
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    return text


def test_keys_survive_the_file(tmp_path: Path) -> None:
    path = tmp_path / "identity.key"
    for _ in range(2):
        save_keys(path, KEYS, None)
        assert same(load_keys(path, None), KEYS)
    assert not is_encrypted(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [child.name for child in tmp_path.iterdir()] == ["identity.key"]


@pytest.mark.slow
def test_a_passphrase_is_needed_and_hides_the_keys(tmp_path: Path) -> None:
    path = tmp_path / "identity.key"
    save_keys(path, KEYS, "correct horse")
    assert is_encrypted(path)
    assert same(load_keys(path, "correct horse"), KEYS)
    assert "wrong passphrase" in complaint(path, "battery staple")
    assert "passphrase" in complaint(path)
    raw = path.read_bytes()
    for hidden in (b"i" * 32, b"new!" * 8, b"old!" * 8):
        assert hidden not in raw


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601])
def test_a_file_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "identity.key"
    save_keys(path, KEYS, None)
    path.chmod(mode)
    assert "chmod 600" in complaint(path)


def test_a_missing_file_and_a_missing_folder_are_named(tmp_path: Path) -> None:
    complaint(tmp_path / "none")
    complaint(tmp_path)
    with pytest.raises(KeyFileError, match="cannot be written"):
        save_keys(tmp_path / "no" / "folder", KEYS, None)


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "identity.key"
    save_keys(path, KEYS, None)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(KeyFileError, match="No space left"):
        save_keys(path, Keys(Identity.generate(), KEYS.prekeys), None)
    monkeypatch.undo()
    assert same(load_keys(path, None), KEYS)


def test_a_device_has_one_to_eight_prekeys(tmp_path: Path) -> None:
    for count in (0, PREKEYS_MAX + 1):
        keys = Keys(KEYS.identity, (KEYS.prekeys[0],) * count)
        with pytest.raises(ValueError, match="prekeys"):
            save_keys(tmp_path / "identity.key", keys, None)


@NO_FIXTURE_RESET
@given(raw=st.binary(max_size=200) | st.just(bytes(5000)))
def test_any_bytes_are_refused_in_one_line(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "identity.key"
    path.touch(0o600)
    path.write_bytes(raw)
    complaint(path)


@NO_FIXTURE_RESET
@given(data=st.data())
def test_each_flipped_bit_is_noticed(tmp_path: Path, data: st.DataObject) -> None:
    path, whole = tmp_path / "identity.key", tmp_path / "whole"
    if not whole.exists():
        save_keys(whole, KEYS, None)
        path.touch(0o600)
    raw = bytearray(whole.read_bytes())
    bit = data.draw(st.integers(0, 8 * len(raw) - 1))
    raw[bit // 8] ^= 1 << bit % 8
    path.write_bytes(raw)
    complaint(path)
