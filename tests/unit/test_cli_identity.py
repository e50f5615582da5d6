"""`gossamer identity`: show, backup, restore, rotate."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
import trio

from gossamer_agent.device.backup import read_backup, write_backup
from gossamer_agent.device.config import Config, DeviceSettings
from gossamer_agent.device.folder import Device, create_device, holding, open_device
from gossamer_agent.errors import StoreError
from gossamer_agent.exit_codes import ExitCode
from gossamer_agent.members import calling, renewal
from gossamer_agent.members.stewardship import Stewardship, load_roster
from gossamer_agent.store.state import ADDRESSES
from gossamer_crypto.identity import Identity, PeerId, peer_id_text
from gossamer_crypto.join import make_join_request, parse_join_answer
from gossamer_crypto.keyfile import Keys, is_encrypted
from gossamer_crypto.prekey import PrekeySecret
from gossamer_transport.errors import Unreachable

Gossamer = Callable[..., Any]
AT = "/ip4/192.0.2.7/tcp/4001"
PASSPHRASE = "correct horse"


@pytest.fixture
def words(tmp_path: Path) -> Path:
    """A file with the passphrase."""
    path = tmp_path / "words"
    path.write_text(f"{PASSPHRASE}\n")
    return path


@pytest.fixture
def shed(tmp_path: Path, garden: Device) -> Device:
    """A member that knows where the steward is."""
    keys = Keys(Identity.from_seed(b"s" * 32), (PrekeySecret.from_bytes(b"k" * 32),))
    with closing(garden.open_state()) as state:
        steward = Stewardship(garden.identity, garden.genesis, state)
        invite = steward.open_invite([AT], 1, None)
        prekey = keys.prekeys[0].sign(keys.identity)
        request = make_join_request(keys.identity, prekey, invite, garden.peer_id)
        raw = steward.answer_join(keys.identity.peer_id, request, 0)
    roster = parse_join_answer(raw).roster
    data = garden.config.device.data
    return create_device(
        tmp_path / "shed",
        keys=keys,
        genesis=garden.genesis,
        config=Config(
            device=DeviceSettings(name="shed", model="synthetic", data=data, profile="pi-4")
        ),
        passphrase=None,
        fill=holding(garden.genesis, roster, {garden.peer_id: [AT]}),
    )


def members(device: Device) -> set[PeerId]:
    with closing(device.open_state()) as state:
        return {*load_roster(state, device.genesis).members}


def test_show_says_who_this_is(gossamer: Gossamer, garden: Device, shed: Device) -> None:
    ran = gossamer("-C", garden.path, "identity", "show")
    assert ran.code == 0, ran.err
    assert f"peer     {peer_id_text(garden.peer_id)}\nrole     steward\n" in ran.out
    assert "protected by its file mode only" in ran.out
    assert "role     member" in gossamer("-C", shed.path, "identity", "show").out


@pytest.mark.slow
class TestBackup:
    def test_a_device_comes_back(
        self, gossamer: Gossamer, shed: Device, tmp_path: Path, words: Path
    ) -> None:
        file, again = tmp_path / "shed.backup", tmp_path / "again"
        option = ("--passphrase-file", words)
        ran = gossamer("-C", shed.path, "identity", "backup", file, *option)
        assert ran.code == 0, ran.err
        assert file.stat().st_mode & 0o777 == 0o600
        ran = gossamer("-C", again, "identity", "restore", file, *option)
        assert ran.code == 0, ran.err
        assert "asks its neighbours for its newest entry" in " ".join(ran.out.split())
        device = open_device(again)
        assert device.keys.prekeys[0].to_bytes() == shed.keys.prekeys[0].to_bytes()
        assert (device.peer_id, device.genesis) == (shed.peer_id, shed.genesis)
        assert device.config == shed.config
        assert members(device) == members(shed)
        with closing(device.open_state()) as new, closing(shed.open_state()) as old:
            assert new.items(ADDRESSES) == old.items(ADDRESSES) != []
        assert not is_encrypted(again / "identity.key")

    def test_a_protected_key_stays_protected(
        self, gossamer: Gossamer, tmp_path: Path, samples_file: Path, words: Path
    ) -> None:
        folder, file, option = tmp_path / "vault", tmp_path / "b", ("--passphrase-file", words)
        names = ("--swarm", "s", "--model", "synthetic", "--data", samples_file)
        assert gossamer("init", folder, *names, *option).code == 0
        assert gossamer("-C", folder, "identity", "backup", file, *option).code == 0
        ran = gossamer("-C", tmp_path / "again", "identity", "restore", file, *option)
        assert ran.code == 0, ran.err
        assert "As a steward" in ran.out
        assert is_encrypted(tmp_path / "again" / "identity.key")
        assert open_device(tmp_path / "again", PASSPHRASE).is_steward

    def test_holds_nothing_in_the_clear(self, garden: Device, tmp_path: Path) -> None:
        write_backup(tmp_path / "b", garden, PASSPHRASE, protected=False)
        raw = (tmp_path / "b").read_bytes()
        for secret in (garden.identity.seed(), b"greenhouse", garden.peer_id, b"synthetic"):
            assert secret not in raw

    def test_refuses_to_overwrite(
        self, gossamer: Gossamer, shed: Device, tmp_path: Path, words: Path
    ) -> None:
        option = ("--passphrase-file", words)
        ran = gossamer("-C", shed.path, "identity", "backup", words, *option)
        assert ran.code == ExitCode.STORE
        assert "is there already; choose another name" in ran.err
        assert words.read_text() == f"{PASSPHRASE}\n"
        gossamer("-C", shed.path, "identity", "backup", tmp_path / "b", *option)
        ran = gossamer("-C", shed.path, "identity", "restore", tmp_path / "b", *option)
        assert ran.code == ExitCode.STORE
        assert "there is a device already" in ran.err

    def test_what_cannot_be_restored(self, garden: Device, tmp_path: Path) -> None:
        path = tmp_path / "b"
        write_backup(path, garden, PASSPHRASE, protected=False)
        raw = path.read_bytes()
        with pytest.raises(StoreError, match="wrong passphrase, or the file is damaged"):
            read_backup(path, "battery staple")
        for damaged in (raw[:-1], raw[:40] + bytes([raw[40] ^ 1]) + raw[41:]):
            path.write_bytes(damaged)
            with pytest.raises(StoreError, match="wrong passphrase, or the file is damaged"):
                read_backup(path, PASSPHRASE)
        for other in (b"", b"PK\x03\x04", raw[:46]):
            path.write_bytes(other)
            with pytest.raises(StoreError, match="is not a backup"):
                read_backup(path, PASSPHRASE)


def test_restore_wants_to_know_where(gossamer: Gossamer, tmp_path: Path) -> None:
    ran = gossamer("identity", "restore", tmp_path / "b")
    assert ran.code == ExitCode.CONFIG
    assert "gossamer -C DIR identity restore FILE" in ran.err


def test_a_backup_needs_a_passphrase(gossamer: Gossamer, shed: Device, tmp_path: Path) -> None:
    ran = gossamer("-C", shed.path, "identity", "backup", tmp_path / "b")
    assert ran.code == ExitCode.CONFIG
    assert "give --passphrase-file" in ran.err
    assert not (tmp_path / "b").exists()


class Steward:
    """Behind the network: answers for the steward of `garden`, or loses its answers."""

    def __init__(self, garden: Device) -> None:
        self.garden = garden
        self.answer_lost = False
        self.caller: PeerId | None = None

    @asynccontextmanager
    async def calling(
        self, identity: Identity, swarm_id: bytes, stewards: Collection[PeerId]
    ) -> AsyncIterator[Steward]:
        self.caller = identity.peer_id
        yield self

    async def dial(self, address: str) -> PeerId:
        await trio.lowlevel.checkpoint()
        assert address == f"{AT}/p2p/{peer_id_text(self.garden.peer_id)}"
        return self.garden.peer_id

    async def request(self, peer: PeerId, protocol: str, payload: bytes, **_: Any) -> bytes:
        await trio.lowlevel.checkpoint()
        assert self.caller is not None
        with closing(self.garden.open_state()) as state:
            steward = Stewardship(self.garden.identity, self.garden.genesis, state)
            answer = steward.answer_join(self.caller, payload, 0)
        if self.answer_lost:
            raise Unreachable("timed out")
        return answer


class TestRotate:
    @pytest.fixture
    def steward(self, garden: Device, monkeypatch: pytest.MonkeyPatch) -> Steward:
        steward = Steward(garden)
        monkeypatch.setattr(calling, "calling", steward.calling)
        return steward

    def test_takes_a_new_identity(
        self, gossamer: Gossamer, garden: Device, shed: Device, steward: Steward
    ) -> None:
        (shed.path / "feed.sqlite3").write_bytes(b"log")
        (shed.path / "feed.sqlite3.head").write_bytes(b"note")
        ran = gossamer("-C", shed.path, "identity", "rotate")
        assert ran.code == 0, ran.err
        device = open_device(shed.path)
        assert device.peer_id != shed.peer_id
        assert members(garden) == members(device) == {garden.peer_id, device.peer_id}
        assert f"was  {peer_id_text(shed.peer_id)}\nis   {peer_id_text(device.peer_id)}" in ran.out
        retired = shed.path / "retired" / peer_id_text(shed.peer_id)
        assert {path.name for path in retired.iterdir()} == {"feed.sqlite3", "feed.sqlite3.head"}
        assert not (shed.path / "feed.sqlite3").exists()
        assert not (shed.path / renewal.PENDING_NAME).exists()
        with closing(device.open_state()) as state:
            assert [peer for peer, _ in state.items(ADDRESSES)] == [garden.peer_id]

    def test_a_lost_answer_leaves_the_old_key_in_use(
        self, gossamer: Gossamer, garden: Device, shed: Device, steward: Steward
    ) -> None:
        steward.answer_lost = True
        ran = gossamer("-C", shed.path, "identity", "rotate")
        assert ran.code == ExitCode.NETWORK
        assert open_device(shed.path).peer_id == shed.peer_id
        steward.answer_lost = False
        assert gossamer("-C", shed.path, "identity", "rotate").code == 0
        assert members(garden) == {garden.peer_id, open_device(shed.path).peer_id}

    def test_a_steward_cannot(self, gossamer: Gossamer, garden: Device) -> None:
        ran = gossamer("-C", garden.path, "identity", "rotate")
        assert ran.code == ExitCode.MEMBERSHIP
        assert "a steward cannot change its identity" in ran.err

    def test_not_while_an_agent_runs(
        self, gossamer: Gossamer, shed: Device, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(renewal, "ask", lambda *_: b"{}")
        ran = gossamer("-C", shed.path, "identity", "rotate")
        assert ran.code == ExitCode.FAILURE
        assert "an agent is running here; stop it first" in ran.err

    def test_needs_to_know_where_a_steward_is(self, gossamer: Gossamer, shed: Device) -> None:
        with closing(shed.open_state()) as state:
            state.replace_lazily(ADDRESSES, [])
        ran = gossamer("-C", shed.path, "identity", "rotate")
        assert ran.code == ExitCode.MEMBERSHIP
        assert "no address of a steward is known here" in ran.err

    def test_who_was_evicted_cannot(
        self, gossamer: Gossamer, garden: Device, shed: Device, steward: Steward
    ) -> None:
        with closing(garden.open_state()) as state:
            Stewardship(garden.identity, garden.genesis, state).evict(shed.peer_id)
        ran = gossamer("-C", shed.path, "identity", "rotate")
        assert ran.code == ExitCode.MEMBERSHIP
        assert "was removed from the swarm" in ran.err
        assert open_device(shed.path).peer_id == shed.peer_id
