"""The folder of one device: who it is, which swarm it belongs to, its settings and its stores.

    identity.key     the device's keys, 0600
    genesis          the swarm's terms, packed
    config.toml      what its owner may set
    state.sqlite3    roster, invites, what is known of others; several processes may use it
    feed.sqlite3     the own log; feed-N.sqlite3 for later incarnations
    received.sqlite3 what others published, for audits: the newest, by a budget in config.toml
    agent.sock       the status socket, while an agent runs
    joining          only while a join is not finished: there is an identity, but no membership

A folder is made under another name beside its place and renamed when it is whole, so that there is
never half a device where its owner looks.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from gossamer_agent.device.config import CONFIG_NAME, Config, load_config, write_config
from gossamer_agent.errors import StoreError
from gossamer_agent.node.statussocket import FILE_NAME as SOCKET_NAME
from gossamer_agent.store.feeds import feed_path, incarnations
from gossamer_agent.store.state import FILE_NAME as STATE_NAME
from gossamer_agent.store.state import StateStore
from gossamer_crypto.errors import GenesisError
from gossamer_crypto.genesis import GENESIS_BYTES_MAX, Genesis
from gossamer_crypto.identity import Identity, PeerId
from gossamer_crypto.keyfile import Keys, load_keys, save_keys

KEY_NAME: Final = "identity.key"
GENESIS_NAME: Final = "genesis"
JOINING_NAME: Final = "joining"

_NOBODY = PeerId(bytes(32))
Fill: TypeAlias = Callable[[StateStore], object]

_JOINING_TEXT = "This device has asked to join a swarm. Run the same `gossamer join` again.\n"


class FolderError(StoreError):
    """The folder of a device cannot be made or opened."""


@dataclass(frozen=True, slots=True)
class Device:
    """An opened folder. Nothing in it is held open: stores are opened where they are used."""

    path: Path
    keys: Keys
    genesis: Genesis
    config: Config

    @property
    def identity(self) -> Identity:
        return self.keys.identity

    @property
    def peer_id(self) -> PeerId:
        return self.keys.identity.peer_id

    @property
    def is_steward(self) -> bool:
        return self.peer_id in self.genesis.stewards

    @property
    def state_path(self) -> Path:
        return self.path / STATE_NAME

    @property
    def socket_path(self) -> Path:
        return self.path / SOCKET_NAME

    @property
    def feed_path(self) -> Path:
        """The log that is written now: that of the newest incarnation."""
        return feed_path(self.path, max(incarnations(self.path), default=0))

    @property
    def data_path(self) -> Path:
        return self.path / self.config.device.data

    @property
    def test_path(self) -> Path | None:
        test = self.config.device.test
        return None if test is None else self.path / test

    @property
    def model(self) -> str:
        """The reference for `load_learner`."""
        from gossamer_agent.models import absolute_model  # noqa: PLC0415  imports numpy

        return absolute_model(self.config.device.model, self.path)

    @property
    def profile(self) -> str:
        """The reference for `load_profile`."""
        reference = self.config.device.profile
        return str(self.path / reference) if reference.endswith(".toml") else reference

    def open_state(self) -> StateStore:
        """The state store; the caller closes it. Raises StoreError."""
        return StateStore(self.state_path)


def check_place(path: Path) -> None:
    """Raise FolderError unless a device folder can be made at `path`: nothing may be there.

    An empty folder is as good as nothing.
    """
    parent = path.absolute().parent
    if not parent.is_dir():
        raise FolderError(f"{path}: there is no folder {parent}; make it first")
    if is_joining(path):
        raise FolderError(
            f"{path}: a join was begun here; finish it with `gossamer join`, or remove the folder"
        )
    if path.is_dir() and not any(path.iterdir()):
        return
    if path.exists() or path.is_symlink():
        what = "a device" if (path / KEY_NAME).exists() else "something"
        raise FolderError(f"{path}: there is {what} already; choose another place")


def create_device(
    path: Path,
    *,
    keys: Keys,
    genesis: Genesis,
    config: Config,
    passphrase: str | None,
    fill: Fill,
) -> Device:
    """Make the folder of a device, whole or not at all.

    fill: writes what the device knows of its swarm into the new state store, `holding` for one.
    Raises FolderError where something is already, StoreError, and what `fill` does.
    """
    check_place(path)
    with _new_folder(path) as folder:
        save_keys(folder / KEY_NAME, keys, passphrase)
        _complete(folder, genesis, config, fill)
    return Device(path, keys, genesis, config)


def holding(
    genesis: Genesis, roster: Iterable[bytes], addresses: Mapping[PeerId, Sequence[str]]
) -> Fill:
    """Adds to a state store a roster, the bytes of its entries in order, and where to dial.

    What it returns raises RosterError for entries that do not verify.
    """

    def fill(state: StateStore) -> None:
        # Cheap to name, dear to import: only a new folder needs the roster's machinery.
        from gossamer_agent.members.stewardship import load_roster, store_roster  # noqa: PLC0415
        from gossamer_agent.store.state import ADDRESSES  # noqa: PLC0415
        from gossamer_transport.address_book import AddressBook, Provenance  # noqa: PLC0415

        held = load_roster(state, genesis)
        store_roster(state, [entry for raw in roster if (entry := held.extend(raw)) is not None])
        book = AddressBook(_NOBODY)
        book.restore(state.items(ADDRESSES))
        for peer, texts in addresses.items():
            book.learn_all(peer, texts, Provenance.OWN_WORD)
        state.replace_lazily(ADDRESSES, book.snapshot().items())

    return fill


def open_device(path: Path, passphrase: str | None = None) -> Device:
    """Open the folder at `path`.

    Raises FolderError when it is none or not whole, KeyFileError (a passphrase lacks or is wrong,
    the file's mode), ConfigError.
    """
    if not path.is_dir():
        raise FolderError(
            f"{path}: there is no such folder; `gossamer init` or `gossamer join` makes one"
        )
    if is_joining(path):
        raise FolderError(f"{path}: its join is not finished; run `gossamer join` again")
    missing = [
        name for name in (KEY_NAME, GENESIS_NAME, CONFIG_NAME) if not (path / name).is_file()
    ]
    if len(missing) == 3:
        raise FolderError(f"{path}: is not the folder of a device; name it: gossamer -C DIR ...")
    if missing:
        raise FolderError(
            f"{path}: the file {missing[0]} is missing; put it back, or restore the device from "
            "a backup with `gossamer identity restore`"
        )
    keys = load_keys(path / KEY_NAME, passphrase)
    return Device(path, keys, _read_genesis(path), load_config(path / CONFIG_NAME))


# Joining: an identity first, the rest when the swarm has agreed --------------------------------


def is_joining(path: Path) -> bool:
    """Whether a join was begun in this folder and not finished."""
    return (path / JOINING_NAME).exists()


def begin_joining(path: Path, keys: Keys, passphrase: str | None) -> None:
    """Make a folder that holds an identity and no membership yet. As `create_device`."""
    check_place(path)
    with _new_folder(path) as folder:
        save_keys(folder / KEY_NAME, keys, passphrase)
        (folder / JOINING_NAME).write_text(_JOINING_TEXT, encoding="ascii")


def finish_joining(
    path: Path, *, keys: Keys, genesis: Genesis, config: Config, fill: Fill
) -> Device:
    """Complete what `begin_joining` began. It stays begun until all is written."""
    # What an attempt that broke off has left may be of another swarm.
    for left in (path / GENESIS_NAME, path / CONFIG_NAME, *path.glob(f"{STATE_NAME}*")):
        left.unlink(missing_ok=True)
    _complete(path, genesis, config, fill)
    _sync(path)
    (path / JOINING_NAME).unlink()
    _sync(path)
    return Device(path, keys, genesis, config)


def abandon_joining(path: Path) -> None:
    """Remove a folder in which a join was begun; any other is left alone."""
    if is_joining(path):
        shutil.rmtree(path)


# Files -------------------------------------------------------------------------------------------


def _complete(folder: Path, genesis: Genesis, config: Config, fill: Fill) -> None:
    (folder / GENESIS_NAME).write_bytes(genesis.pack())
    write_config(folder / CONFIG_NAME, config)
    with closing(StateStore(folder / STATE_NAME)) as state:
        fill(state)


@contextmanager
def _new_folder(path: Path) -> Iterator[Path]:
    """A folder, 0700, that takes the place `path` when the block ends well, else is removed."""
    place = path.absolute()
    try:
        folder = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=place.parent))
    except OSError as error:
        raise FolderError(f"{path}: cannot be made: {error.strerror}") from error
    try:
        yield folder
        _sync(folder)
        # Replaces an empty folder and nothing else.
        folder.rename(place)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError):
            raise FolderError(f"{path}: cannot be made: {error.strerror}") from error
        raise
    _sync(place.parent)


def _sync(folder: Path) -> None:
    """Bring every file of `folder`, and their names, to the disk."""
    for path in (*folder.iterdir(), folder):
        if path.is_file() or path == folder:
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def _read_genesis(folder: Path) -> Genesis:
    path = folder / GENESIS_NAME
    with path.open("rb") as file:
        raw = file.read(GENESIS_BYTES_MAX + 1)
    try:
        return Genesis.unpack(raw)
    except GenesisError as error:
        raise FolderError(
            f"{path}: is damaged ({error.detail}); restore the device from a backup"
        ) from None
