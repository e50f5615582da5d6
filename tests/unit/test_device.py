"""The folder of a device: made whole or not at all, opened only if it is whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from gossamer_agent.device.config import Config, DeviceSettings
from gossamer_agent.device.folder import (
    Device,
    FolderError,
    abandon_joining,
    begin_joining,
    check_place,
    create_device,
    finish_joining,
    holding,
    is_joining,
    open_device,
)
from gossamer_agent.errors import ConfigError
from gossamer_agent.exit_codes import ExitCode
from gossamer_agent.members.stewardship import load_roster
from gossamer_agent.store.state import ADDRESSES, StateStore
from gossamer_crypto.errors import KeyFileError, RosterError
from gossamer_crypto.identity import Identity
from gossamer_crypto.keyfile import Keys
from gossamer_crypto.prekey import PrekeySecret
from gossamer_transport.address_book import AddressBook

CONFIG = Config(
    device=DeviceSettings(name="shed", model="synthetic", data="own.npz", profile="pi-4")
)
KEYS = Keys(Identity.from_seed(b"s" * 32), (PrekeySecret.from_bytes(b"k" * 32),))


def roster_of(device: Device) -> list[bytes]:
    with closing(device.open_state()) as state:
        roster = load_roster(state, device.genesis)
    return [entry.raw for entry in roster.after(0, device.genesis.swarm_id)]


def refusal(path: Path) -> str:
    with pytest.raises(FolderError) as caught:
        open_device(path)
    assert caught.value.exit_code is ExitCode.STORE
    assert "\n" not in str(caught.value)
    return str(caught.value)


def leftovers(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"garden", "samples.npz"}


class TestCreating:
    def test_what_was_made_opens(self, garden: Device) -> None:
        opened = open_device(garden.path)
        assert opened.peer_id == garden.peer_id
        assert opened.keys.prekeys[0].to_bytes() == garden.keys.prekeys[0].to_bytes()
        assert (opened.genesis, opened.config) == (garden.genesis, garden.config)
        assert opened.is_steward
        assert len(roster_of(opened)) == 2

    def test_nobody_else_may_look_in(self, garden: Device) -> None:
        assert garden.path.stat().st_mode & 0o777 == 0o700
        assert (garden.path / "identity.key").stat().st_mode & 0o777 == 0o600
        assert garden.state_path.stat().st_mode & 0o777 == 0o600

    def test_an_empty_folder_is_as_good_as_none(self, tmp_path: Path, garden: Device) -> None:
        (tmp_path / "shed").mkdir(mode=0o755)
        self.create(tmp_path / "shed", garden)
        assert (tmp_path / "shed").stat().st_mode & 0o777 == 0o700

    def test_nothing_is_overwritten(self, tmp_path: Path, garden: Device) -> None:
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "x").touch()
        (tmp_path / "link").symlink_to("nowhere")
        for place in (garden.path, tmp_path / "full", tmp_path / "samples.npz", tmp_path / "link"):
            with pytest.raises(FolderError, match=r"there is (a device|something) already"):
                self.create(place, garden)

    def test_the_folder_around_it_must_be_there(self, tmp_path: Path, garden: Device) -> None:
        with pytest.raises(FolderError, match="make it first"):
            self.create(tmp_path / "no" / "shed", garden)

    @pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
    def test_what_fails_half_way_leaves_nothing(
        self, tmp_path: Path, garden: Device, error: BaseException
    ) -> None:
        def fail(state: StateStore) -> None:
            raise error

        with pytest.raises((FolderError, KeyboardInterrupt)):
            self.create(tmp_path / "shed", garden, fail)
        assert leftovers(tmp_path) == set()

    def test_a_roster_of_another_swarm_is_refused(self, tmp_path: Path, garden: Device) -> None:
        other = replace(garden.genesis, nonce=b"n" * 32)
        with pytest.raises(RosterError):
            self.create(tmp_path / "shed", garden, holding(other, roster_of(garden), {}))
        assert leftovers(tmp_path) == set()

    @staticmethod
    def create(place: Path, garden: Device, fill: object = None) -> Device:
        return create_device(
            place,
            keys=KEYS,
            genesis=garden.genesis,
            config=CONFIG,
            passphrase=None,
            fill=fill or holding(garden.genesis, roster_of(garden), {}),  # type: ignore[arg-type]
        )


class TestHolding:
    def test_keeps_roster_and_addresses(self, tmp_path: Path, garden: Device) -> None:
        at = "/ip4/192.0.2.7/tcp/4001"
        fill = holding(garden.genesis, roster_of(garden), {garden.peer_id: [at, "rubbish"]})
        with closing(StateStore(tmp_path / "state.sqlite3")) as state:
            fill(state)
            roster, book = load_roster(state, garden.genesis), AddressBook(KEYS.identity.peer_id)
            book.restore(state.items(ADDRESSES))
        assert garden.peer_id in roster
        (address,) = book.addresses(garden.peer_id)
        assert address.startswith(f"{at}/p2p/")


class TestOpening:
    def test_says_what_a_folder_is_not(self, tmp_path: Path) -> None:
        assert "there is no such folder; `gossamer init`" in refusal(tmp_path / "gone")
        assert "is not the folder of a device; name it: gossamer -C DIR" in refusal(tmp_path)
        (tmp_path / "file").touch()
        assert "there is no such folder" in refusal(tmp_path / "file")

    @pytest.mark.parametrize("name", ["identity.key", "genesis", "config.toml"])
    def test_names_the_file_that_is_missing(self, garden: Device, name: str) -> None:
        (garden.path / name).unlink()
        assert f"the file {name} is missing; put it back" in refusal(garden.path)

    @pytest.mark.parametrize("raw", [b"", b"\x97", b"x" * 99_999])
    def test_a_damaged_genesis(self, garden: Device, raw: bytes) -> None:
        (garden.path / "genesis").write_bytes(raw)
        assert "genesis: is damaged" in refusal(garden.path)

    def test_a_damaged_config_names_the_key(self, garden: Device) -> None:
        path = garden.path / "config.toml"
        path.write_text(path.read_text().replace("batch = 16", "batch = 0"))
        with pytest.raises(ConfigError, match=r"config.toml: \[learning\]: batch must be"):
            open_device(garden.path)

    def test_a_key_that_others_can_read(self, garden: Device) -> None:
        (garden.path / "identity.key").chmod(0o644)
        with pytest.raises(KeyFileError, match="chmod"):
            open_device(garden.path)


class TestPaths:
    def test_are_relative_to_the_folder(self, garden: Device) -> None:
        relative = replace(garden, config=CONFIG)
        assert relative.data_path == garden.path / "own.npz"
        assert relative.test_path is None
        assert garden.data_path == Path(garden.config.device.data)

    def test_names_stay_names(self, garden: Device) -> None:
        def at(**changes: str) -> Device:
            return replace(garden, config=Config(device=replace(CONFIG.device, **changes)))

        assert at().model == "synthetic"
        assert at(model="my.tflite").model == str(garden.path / "my.tflite")
        assert at().profile == "pi-4"
        assert at(profile="my.toml").profile == str(garden.path / "my.toml")

    def test_the_log_is_that_of_the_newest_incarnation(self, garden: Device) -> None:
        assert garden.feed_path.name == "feed.sqlite3"
        for name in ("feed.sqlite3", "feed-2.sqlite3", "feed-10.sqlite3", "feed-x.sqlite3"):
            (garden.path / name).touch()
        assert garden.feed_path.name == "feed-10.sqlite3"


class TestJoining:
    @pytest.fixture
    def place(self, tmp_path: Path) -> Iterator[Path]:
        place = tmp_path / "shed"
        begin_joining(place, KEYS, None)
        yield place

    def test_a_begun_join_is_no_device_and_no_free_place(self, place: Path) -> None:
        assert is_joining(place)
        assert "its join is not finished; run `gossamer join` again" in refusal(place)
        with pytest.raises(FolderError, match="a join was begun here; finish it"):
            check_place(place)

    def test_a_finished_one_is_a_device(self, place: Path, garden: Device) -> None:
        self.finish(place, garden)
        opened = open_device(place)
        assert opened.peer_id == KEYS.identity.peer_id
        assert not opened.is_steward
        assert roster_of(opened) == roster_of(garden)

    def test_it_can_be_finished_after_breaking_off(self, place: Path, garden: Device) -> None:
        def fail(state: StateStore) -> None:
            raise OSError(28, "No space left on device")

        with pytest.raises(OSError, match="No space"):
            finish_joining(place, keys=KEYS, genesis=garden.genesis, config=CONFIG, fill=fail)
        assert is_joining(place)
        self.finish(place, garden)
        assert roster_of(open_device(place)) == roster_of(garden)

    def test_it_can_be_given_up(self, place: Path, garden: Device) -> None:
        abandon_joining(place)
        abandon_joining(garden.path)
        assert not place.exists()
        open_device(garden.path)

    @staticmethod
    def finish(place: Path, garden: Device) -> None:
        fill = holding(garden.genesis, roster_of(garden), {})
        finish_joining(place, keys=KEYS, genesis=garden.genesis, config=CONFIG, fill=fill)
