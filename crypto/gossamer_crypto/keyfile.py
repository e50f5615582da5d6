"""The file with a device's private keys: only for its owner, replaced whole, encrypted on request.

Layout: a MessagePack array [1, salt, nonce, payload]. Without a passphrase salt and nonce are empty
and the payload is the keys (the identity's seed, then the prekeys, newest first) and a SHA-256 of
them all, 32 bytes each. With one it is ChaCha20-Poly1305 of these under scrypt(passphrase, salt)
(RFC 7914). The hash is there for SD cards: a flipped bit would make another identity.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from gossamer_crypto.errors import KeyFileError
from gossamer_crypto.identity import Identity
from gossamer_crypto.labels import KEY_FILE
from gossamer_crypto.prekey import PrekeySecret

PREKEYS_MAX: Final = 8

_SALT_BYTES, _NONCE_BYTES, _KEY_BYTES = 16, 12, 32
_FILE_BYTES_MAX = 4096
_SCRYPT_N, _SCRYPT_R, _SCRYPT_P = 2**15, 8, 1
_Fields = tuple[Literal[1], bytes, bytes, bytes]
_DECODER = msgspec.msgpack.Decoder(_Fields)


@dataclass(frozen=True, slots=True)
class Keys:
    """prekeys: 1 to 8, newest first; older ones still open what was wrapped to them."""

    identity: Identity
    prekeys: tuple[PrekeySecret, ...]


def save_keys(path: Path, keys: Keys, passphrase: str | None) -> None:
    """Write or replace the file, mode 0600, whole or not at all. Raises KeyFileError."""
    if not 1 <= len(keys.prekeys) <= PREKEYS_MAX:
        raise ValueError(f"a device has 1 to {PREKEYS_MAX} prekeys")
    secret = b"".join((keys.identity.seed(), *(prekey.to_bytes() for prekey in keys.prekeys)))
    payload = secret + _checksum(secret)
    salt = nonce = b""
    if passphrase is not None:
        salt, nonce = secrets.token_bytes(_SALT_BYTES), secrets.token_bytes(_NONCE_BYTES)
        payload = _cipher(passphrase, salt).encrypt(nonce, payload, KEY_FILE)
    fields: _Fields = (1, salt, nonce, payload)
    _replace(path, msgspec.msgpack.encode(fields))


def load_keys(path: Path, passphrase: str | None) -> Keys:
    """Read the file. KeyFileError: missing, open to others, damaged, or a wrong passphrase."""
    salt, nonce, payload = _read(path)
    if salt:
        if passphrase is None:
            raise KeyFileError(f"{path}: is encrypted; give its passphrase")
        try:
            payload = _cipher(passphrase, salt).decrypt(nonce, payload, KEY_FILE)
        except InvalidTag:
            raise KeyFileError(f"{path}: wrong passphrase, or the file is damaged") from None
    secret, checksum = payload[:-_KEY_BYTES], payload[-_KEY_BYTES:]
    keys = [secret[at : at + _KEY_BYTES] for at in range(0, len(secret), _KEY_BYTES)]
    whole = len(secret) % _KEY_BYTES == 0 and checksum == _checksum(secret)
    if not whole or not 2 <= len(keys) <= 1 + PREKEYS_MAX:
        raise KeyFileError(f"{path}: is damaged; restore it from a backup")
    return Keys(Identity.from_seed(keys[0]), tuple(map(PrekeySecret.from_bytes, keys[1:])))


def is_encrypted(path: Path) -> bool:
    """Whether `load_keys` needs a passphrase. Raises KeyFileError."""
    return bool(_read(path)[0])


def _read(path: Path) -> tuple[bytes, bytes, bytes]:
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise KeyFileError(f"{path}: others can read this key; run: chmod 600 {path}")
            raw = file.read(_FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        raise KeyFileError(f"{path}: there is no such key file") from None
    except OSError as error:
        raise KeyFileError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        fields: _Fields = _DECODER.decode(raw)
    except msgspec.DecodeError:
        raise KeyFileError(f"{path}: is not a key file, or it is damaged") from None
    _, salt, nonce, payload = fields
    lengths = (len(salt), len(nonce))
    if len(raw) > _FILE_BYTES_MAX or lengths not in ((0, 0), (_SALT_BYTES, _NONCE_BYTES)):
        raise KeyFileError(f"{path}: is not a key file, or it is damaged")
    return salt, nonce, payload


def _checksum(secret: bytes) -> bytes:
    return hashlib.sha256(KEY_FILE + secret).digest()


def _cipher(passphrase: str, salt: bytes) -> ChaCha20Poly1305:
    kdf = Scrypt(salt=salt, length=_KEY_BYTES, n=_SCRYPT_N, r=_SCRYPT_R, p=_SCRYPT_P)
    return ChaCha20Poly1305(kdf.derive(passphrase.encode()))


def _replace(path: Path, raw: bytes) -> None:
    temporary = path.with_name(path.name + ".new")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:  # noqa: PTH123  a descriptor, not a path
            os.fchmod(file.fileno(), 0o600)
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise KeyFileError(f"{path}: cannot be written: {error.strerror}") from error
