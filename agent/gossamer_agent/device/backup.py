"""The backup of a device: one file, encrypted with a passphrase, from which it can be made again.

    "gossamer backup 1\\n"  salt 16  nonce 12  ciphertext

ChaCha20-Poly1305 under scrypt(passphrase, salt) (RFC 7914), with the first line as its associated
data. Inside is a MessagePack array: keys, genesis, config.toml, and what the device needs to find
the others again: the roster and the address book. The log is not in it. A restored device asks its
neighbours for its newest entry and begins a new incarnation of its log.
"""

from __future__ import annotations

import os
import secrets
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from gossamer_agent.device.config import CONFIG_NAME, Config, config_text, parse_config
from gossamer_agent.device.folder import Device, create_device, holding
from gossamer_agent.errors import StoreError
from gossamer_agent.members.stewardship import stored_entries
from gossamer_agent.store.state import ADDRESSES, StateStore
from gossamer_crypto.errors import GenesisError, RosterError
from gossamer_crypto.genesis import Genesis
from gossamer_crypto.identity import Identity
from gossamer_crypto.keyfile import PREKEYS_MAX, Keys
from gossamer_crypto.prekey import PrekeySecret

BACKUP_BYTES_MAX: Final = 64 * 1024 * 1024

_MAGIC = b"gossamer backup 1\n"
_SALT_BYTES, _NONCE_BYTES, _KEY_BYTES = 16, 12, 32
_Secret = Annotated[bytes, msgspec.Meta(min_length=_KEY_BYTES, max_length=_KEY_BYTES)]
_Prekeys = Annotated[list[_Secret], msgspec.Meta(min_length=1, max_length=PREKEYS_MAX)]
_Rows = list[tuple[bytes, bytes]]
_Fields = tuple[Literal[1], bool, _Secret, _Prekeys, bytes, bytes, list[bytes], _Rows]
_DECODER = msgspec.msgpack.Decoder(_Fields)


@dataclass(frozen=True, slots=True)
class Backup:
    """protected: the key file was encrypted, with the passphrase of the backup; roster: bytes of
    the entries in order; addresses: rows of an `AddressBook`.
    """

    keys: Keys
    protected: bool
    genesis: Genesis
    config: Config
    roster: tuple[bytes, ...]
    addresses: tuple[tuple[bytes, bytes], ...]


def write_backup(path: Path, device: Device, passphrase: str, *, protected: bool) -> None:
    """Write a new file, 0600. Raises StoreError where something is already, OSError."""
    with closing(device.open_state()) as state:
        roster, addresses = stored_entries(state), state.items(ADDRESSES)
    keys = device.keys
    fields: _Fields = (
        1,
        protected,
        keys.identity.seed(),
        [prekey.to_bytes() for prekey in keys.prekeys],
        device.genesis.pack(),
        config_text(device.config).encode(),
        roster,
        addresses,
    )
    salt, nonce = secrets.token_bytes(_SALT_BYTES), secrets.token_bytes(_NONCE_BYTES)
    sealed = _cipher(passphrase, salt).encrypt(nonce, msgspec.msgpack.encode(fields), _MAGIC)
    _write_new(path, _MAGIC + salt + nonce + sealed)


def read_backup(path: Path, passphrase: str) -> Backup:
    """What the file holds. Raises StoreError: no backup, damaged, or a wrong passphrase."""
    try:
        with path.open("rb") as file:
            raw = file.read(BACKUP_BYTES_MAX + 1)
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}") from error
    head = len(_MAGIC) + _SALT_BYTES + _NONCE_BYTES
    if not raw.startswith(_MAGIC) or not head < len(raw) <= BACKUP_BYTES_MAX:
        raise StoreError(f"{path}: is not a backup that this version can read")
    salt, nonce = raw[len(_MAGIC) : head - _NONCE_BYTES], raw[head - _NONCE_BYTES : head]
    try:
        plain = _cipher(passphrase, salt).decrypt(nonce, raw[head:], _MAGIC)
    except InvalidTag:
        raise StoreError(f"{path}: wrong passphrase, or the file is damaged") from None
    try:
        _, protected, seed, prekeys, genesis, config, roster, rows = _DECODER.decode(plain)
        return Backup(
            keys=Keys(Identity.from_seed(seed), tuple(map(PrekeySecret.from_bytes, prekeys))),
            protected=protected,
            genesis=Genesis.unpack(genesis),
            config=parse_config(config, f"{CONFIG_NAME} in {path}"),
            roster=tuple(roster),
            addresses=tuple(rows),
        )
    except (msgspec.DecodeError, GenesisError):
        raise StoreError(f"{path}: was made by a version that this one does not know") from None


def restore_backup(folder: Path, backup: Backup, passphrase: str) -> Device:
    """Make the folder of the device again; the key file is encrypted if it was.

    Raises FolderError where something is already, StoreError.
    """
    keep_roster = holding(backup.genesis, backup.roster, {})

    def fill(state: StateStore) -> None:
        keep_roster(state)
        state.replace_lazily(ADDRESSES, backup.addresses)

    try:
        return create_device(
            folder,
            keys=backup.keys,
            genesis=backup.genesis,
            config=backup.config,
            passphrase=passphrase if backup.protected else None,
            fill=fill,
        )
    except RosterError as error:
        raise StoreError(f"the backup's roster does not verify ({error})") from None


def _cipher(passphrase: str, salt: bytes) -> ChaCha20Poly1305:
    kdf = Scrypt(salt=salt, length=_KEY_BYTES, n=2**15, r=8, p=1)
    return ChaCha20Poly1305(kdf.derive(passphrase.encode()))


def _write_new(path: Path, raw: bytes) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise StoreError(f"{path}: is there already; choose another name") from None
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123  a descriptor, not a path
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        # Half a backup would be taken for one.
        with suppress(OSError):
            path.unlink()
        raise
