"""`gossamer join`, with a stand-in for the network and a real steward behind it."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio

from gossamer_agent.device.folder import Device, is_joining, open_device
from gossamer_agent.exit_codes import ExitCode
from gossamer_agent.members import calling
from gossamer_agent.members.stewardship import Stewardship, load_roster
from gossamer_agent.store.state import ADDRESSES
from gossamer_crypto.identity import Identity, PeerId, peer_id_text
from gossamer_transport.address_book import AddressBook
from gossamer_transport.errors import Unreachable

Gossamer = Callable[..., Any]
AT = "/ip4/192.0.2.7/tcp/4001"


class Steward:
    """Behind the network: the steward of `garden`. `failure`: what its answers run into.

    now: Unix time there. asked: how many requests came.
    """

    def __init__(self, garden: Device) -> None:
        self.garden = garden
        self.unreachable = ""
        self.answer_lost = False
        self.now = 0
        self.asked: list[PeerId] = []

    def open_invite(self, uses: int = 1, expires_at: int | None = None) -> str:
        with closing(self.garden.open_state()) as state:
            return self._stewardship(state).open_invite([AT], uses, expires_at).text()

    def evict(self, peer: PeerId) -> None:
        with closing(self.garden.open_state()) as state:
            self._stewardship(state).evict(peer)

    def members(self) -> set[PeerId]:
        with closing(self.garden.open_state()) as state:
            return {*load_roster(state, self.garden.genesis).members}

    @asynccontextmanager
    async def calling(
        self, identity: Identity, swarm_id: bytes, stewards: Collection[PeerId]
    ) -> AsyncIterator[_Visit]:
        yield _Visit(self, identity)

    def answer(self, peer: PeerId, payload: bytes) -> bytes:
        self.asked.append(peer)
        with closing(self.garden.open_state()) as state:
            answer = self._stewardship(state).answer_join(peer, payload, self.now)
        if self.answer_lost:
            raise Unreachable("timed out")
        return answer

    def _stewardship(self, state: Any) -> Stewardship:
        return Stewardship(self.garden.identity, self.garden.genesis, state)


class _Visit:
    def __init__(self, steward: Steward, identity: Identity) -> None:
        self._steward = steward
        self._identity = identity

    async def dial(self, address: str) -> PeerId:
        await trio.lowlevel.checkpoint()
        if self._steward.unreachable:
            raise Unreachable(self._steward.unreachable)
        return self._steward.garden.peer_id

    async def request(self, peer: PeerId, protocol: str, payload: bytes, **_: Any) -> bytes:
        await trio.lowlevel.checkpoint()
        return self._steward.answer(self._identity.peer_id, payload)


@pytest.fixture
def steward(garden: Device, monkeypatch: pytest.MonkeyPatch) -> Steward:
    steward = Steward(garden)
    monkeypatch.setattr(calling, "calling", steward.calling)
    return steward


@pytest.fixture
def join(gossamer: Gossamer, tmp_path: Path, samples_file: Path) -> Gossamer:
    def call(invite: str | Path, *options: str | Path) -> Any:
        words = ("--data", samples_file, "--profile", "pi-4")
        return gossamer("join", invite, tmp_path / "shed", *words, *options)

    return call


class TestJoining:
    def test_makes_a_member(self, join: Gossamer, steward: Steward, tmp_path: Path) -> None:
        ran = join(steward.open_invite())
        assert ran.code == 0, ran.err
        device = open_device(tmp_path / "shed")
        assert steward.members() == {steward.garden.peer_id, device.peer_id}
        assert device.genesis == steward.garden.genesis
        assert device.config.device.model == "synthetic"
        assert not device.is_steward
        with closing(device.open_state()) as state:
            assert {*load_roster(state, device.genesis).members} == steward.members()
            book = AddressBook(device.peer_id)
            book.restore(state.items(ADDRESSES))
        assert book.addresses(steward.garden.peer_id) == (
            f"{AT}/p2p/{peer_id_text(steward.garden.peer_id)}",
        )
        assert "greenhouse" in ran.out
        assert f"gossamer -C {tmp_path / 'shed'} run" in ran.out
        assert "asking the steward at" in ran.err

    def test_takes_the_invite_from_a_file(
        self, join: Gossamer, steward: Steward, tmp_path: Path
    ) -> None:
        (tmp_path / "invite.txt").write_text(steward.open_invite() + "\n")
        assert join(tmp_path / "invite.txt").code == 0

    def test_takes_the_invite_from_the_standard_input(
        self, join: Gossamer, steward: Steward, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO(steward.open_invite().upper() + "\n"))
        assert join("-").code == 0

    def test_two_devices_need_two_uses(
        self, join: Gossamer, steward: Steward, tmp_path: Path
    ) -> None:
        invite = steward.open_invite(uses=2)
        for name in ("one", "two"):
            assert join(invite).code == 0
            (tmp_path / "shed").rename(tmp_path / name)
        ran = join(invite)
        assert (ran.code, ran.out) == (ExitCode.MEMBERSHIP, "")
        assert ran.err.endswith("gossamer: the invite is used up; ask a steward for a new one\n")
        assert len(steward.members()) == 3


class TestRefusals:
    """What went wrong is one line, and what was begun for nothing is removed."""

    def said(self, ran: Any, tmp_path: Path, code: ExitCode = ExitCode.MEMBERSHIP) -> str:
        assert (ran.code, ran.out) == (code, "")
        assert not (tmp_path / "shed").exists()
        line: str = ran.err.splitlines()[-1]
        assert line.startswith("gossamer: ")
        return line

    def test_unreachable(self, join: Gossamer, steward: Steward, tmp_path: Path) -> None:
        steward.unreachable = "connection refused"
        said = self.said(join(steward.open_invite()), tmp_path, ExitCode.NETWORK)
        assert said.endswith(f"no steward can be reached: {AT}: connection refused")

    def test_expired(self, join: Gossamer, steward: Steward, tmp_path: Path) -> None:
        steward.now = 1000
        assert "has expired" in self.said(join(steward.open_invite(expires_at=900)), tmp_path)

    def test_closed(self, join: Gossamer, steward: Steward, tmp_path: Path) -> None:
        invite = steward.open_invite()
        with closing(steward.garden.open_state()) as state:
            stewardship = Stewardship(steward.garden.identity, steward.garden.genesis, state)
            stewardship.close_invite(stewardship.invites()[0].token_id)
        assert "does not know this invite" in self.said(join(invite), tmp_path)

    @pytest.mark.parametrize("invite", ["gossamer1", "gossamer1abc", "hello", "", "x" * 9999])
    def test_no_invite(self, join: Gossamer, steward: Steward, tmp_path: Path, invite: str) -> None:
        self.said(join(invite), tmp_path)
        assert steward.asked == []

    @pytest.mark.parametrize(
        ("options", "code"),
        [
            (["--data", "gone.npz"], ExitCode.DATA),
            (["--model", "vgg"], ExitCode.MODEL),
            (["--profile", "pi-9"], ExitCode.CONFIG),
            (["--listen", "4001"], ExitCode.CONFIG),
            (["--passphrase"], ExitCode.CONFIG),
        ],
    )
    def test_what_is_wrong_here_is_found_before_anybody_is_asked(
        self, join: Gossamer, steward: Steward, tmp_path: Path, options: list[str], code: ExitCode
    ) -> None:
        self.said(join(steward.open_invite(), *options), tmp_path, code)
        assert steward.asked == []

    def test_a_folder_in_use(self, join: Gossamer, steward: Steward, tmp_path: Path) -> None:
        assert join(steward.open_invite()).code == 0
        ran = join(steward.open_invite())
        assert ran.code == ExitCode.STORE
        assert "there is a device already" in ran.err
        assert len(steward.asked) == 1


class TestResuming:
    def test_a_lost_answer_uses_nothing_up(
        self, join: Gossamer, steward: Steward, tmp_path: Path
    ) -> None:
        invite = steward.open_invite()
        steward.answer_lost = True
        ran = join(invite)
        assert ran.code == ExitCode.NETWORK
        assert "timed out; run the same command again, the invite is not used up twice" in ran.err
        assert is_joining(tmp_path / "shed")
        steward.answer_lost = False
        ran = join(invite)
        assert ran.code == 0, ran.err
        assert "going on with the join that was begun" in ran.err
        assert steward.asked == [open_device(tmp_path / "shed").peer_id] * 2
        assert len(steward.members()) == 2

    def test_a_model_that_does_not_ship_is_asked_for_and_the_use_is_kept(
        self, join: Gossamer, steward: Steward, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from gossamer_agent import models

        invite = steward.open_invite()
        with monkeypatch.context() as shipped:
            shipped.setattr(models, "model_names", lambda: ("softmax",))
            ran = join(invite)
        assert ran.code == ExitCode.MODEL
        assert "--model FILE; the invite is not used up by that" in ran.err
        assert join(invite, "--model", "synthetic").code == 0
        assert len(steward.members()) == 2

    def test_data_that_do_not_fit_can_be_replaced(
        self, join: Gossamer, steward: Steward, tmp_path: Path
    ) -> None:
        np.savez(tmp_path / "other.npz", x=np.zeros((20, 7)), y=np.arange(20) % 2)
        invite = steward.open_invite()
        ran = join(invite, "--data", tmp_path / "other.npz")
        assert ran.code == ExitCode.DATA
        assert "other.npz" in ran.err
        assert join(invite).code == 0

    def test_who_was_removed_meanwhile_hears_it(
        self, join: Gossamer, steward: Steward, tmp_path: Path
    ) -> None:
        invite = steward.open_invite()
        steward.answer_lost = True
        join(invite)
        steward.answer_lost = False
        steward.evict(steward.asked[0])
        ran = join(invite)
        assert ran.code == ExitCode.MEMBERSHIP
        assert "this device was removed from the swarm" in ran.err
        assert is_joining(tmp_path / "shed")


def test_another_swarm_behind_the_address(
    join: Gossamer, steward: Steward, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    invite = steward.open_invite()
    other = replace(steward.garden.genesis, nonce=b"o" * 32)
    honest = steward.answer

    def lie(peer: PeerId, payload: bytes) -> bytes:
        from gossamer_crypto.join import JoinAnswer, parse_join_answer

        return JoinAnswer(
            None, other.pack(), parse_join_answer(honest(peer, payload)).roster
        ).pack()

    monkeypatch.setattr(steward, "answer", lie)
    ran = join(invite)
    assert ran.code == ExitCode.MEMBERSHIP
    assert "answers for another swarm than the invite's" in ran.err
