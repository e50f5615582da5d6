"""`gossamer invite`."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from gossamer_agent.cli.invite import addresses_for, parse_duration
from gossamer_agent.device.config import NetworkSettings
from gossamer_agent.device.folder import Device
from gossamer_agent.errors import AgentError, ConfigError
from gossamer_agent.exit_codes import ExitCode
from gossamer_agent.members.stewardship import Stewardship
from gossamer_agent.node import statussocket
from gossamer_agent.node.status import AgentStatus, pack_status
from gossamer_crypto.identity import peer_id_text
from gossamer_crypto.invite import parse_invite

Gossamer = Callable[..., Any]


def listening(device: Device, *listen: str, advertise: tuple[str, ...] = ()) -> Device:
    network = NetworkSettings(listen=listen, advertise=advertise)
    return replace(device, config=replace(device.config, network=network))


class TestInvite:
    def test_prints_an_invite_that_the_steward_knows(
        self, gossamer: Gossamer, garden: Device
    ) -> None:
        ran = gossamer("-C", garden.path, "invite", "--uses", "5", "--expires", "7d")
        assert ran.code == 0, ran.err
        invite = parse_invite(ran.out)
        assert ran.out.count("\n") == 1
        assert invite.swarm_id == garden.genesis.swarm_id
        assert invite.stewards == (garden.peer_id,)
        assert invite.addresses == ("/ip4/192.0.2.7/tcp/4001",)
        with closing(garden.open_state()) as state:
            (kept,) = Stewardship(garden.identity, garden.genesis, state).invites()
        assert (kept.token_id, kept.uses) == (invite.token_id, 5)
        assert kept.expires_at is not None
        assert abs(kept.expires_at - time.time() - 7 * 86_400) < 60
        assert "for 5 devices within 7d, at /ip4/192.0.2.7/tcp/4001" in ran.err

    def test_never_expires_if_so_wished(self, gossamer: Gossamer, garden: Device) -> None:
        assert gossamer("-C", garden.path, "invite", "--expires", "never").code == 0
        with closing(garden.open_state()) as state:
            (kept,) = Stewardship(garden.identity, garden.genesis, state).invites()
        assert (kept.expires_at, kept.uses) == (None, 1)

    def test_shows_a_code_that_holds_the_invite(self, gossamer: Gossamer, garden: Device) -> None:
        ran = gossamer("-C", garden.path, "invite", "--qr")
        assert ran.code == 0
        *code, text = ran.out.splitlines()
        assert len(code) > 15
        parse_invite(text)
        # The form in the code: QR codes have a short form for upper case only.
        assert parse_invite(text.upper()) == parse_invite(text)

    @pytest.mark.parametrize(
        ("options", "code", "said"),
        [
            (["--uses", "0"], ExitCode.USAGE, "1<=x<=1024"),
            (["--uses", "many"], ExitCode.USAGE, "many"),
            (["--expires", "soon"], ExitCode.CONFIG, "use a time like 90m, 12h or 7d"),
            (["--expires", "0d"], ExitCode.CONFIG, "use a time like"),
            (["--expires", "99999999w"], ExitCode.CONFIG, "use a time like"),
            (["--address", "garden"], ExitCode.CONFIG, "'garden' cannot be dialled"),
            (["--address", "/ip4/0.0.0.0/tcp/1"], ExitCode.CONFIG, "cannot be dialled"),
        ],
    )
    def test_bad_options(
        self, gossamer: Gossamer, garden: Device, options: list[str], code: int, said: str
    ) -> None:
        ran = gossamer("-C", garden.path, "invite", *options)
        assert (ran.code, ran.out) == (code, "")
        assert said in ran.err

    def test_only_a_steward_invites(
        self, gossamer: Gossamer, garden: Device, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Stewardship, "is_steward", False)
        ran = gossamer("-C", garden.path, "invite")
        assert ran.code == ExitCode.MEMBERSHIP
        assert f"only a steward can invite to 'greenhouse': ask {peer_id_text(garden.peer_id)}" in (
            ran.err
        )

    def test_outside_of_a_device_it_says_how_to_name_one(
        self, gossamer: Gossamer, tmp_path: Any
    ) -> None:
        ran = gossamer("-C", tmp_path, "invite")
        assert ran.code == ExitCode.STORE
        assert "gossamer -C DIR" in ran.err


class TestAddresses:
    def test_what_the_user_says_wins(self, garden: Device) -> None:
        said = f"/dns4/garden.example/tcp/1/p2p/{peer_id_text(garden.peer_id)}"
        assert addresses_for(garden, (said,)) == ("/dns4/garden.example/tcp/1",)

    def test_then_what_is_advertised(self, garden: Device) -> None:
        device = listening(garden, "/ip4/0.0.0.0/tcp/0", advertise=("/ip4/203.0.113.1/tcp/9",))
        assert addresses_for(device, ()) == ("/ip4/203.0.113.1/tcp/9",)

    def test_then_what_the_running_agent_tells(
        self, garden: Device, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        own = f"/p2p/{peer_id_text(garden.peer_id)}"
        told = [f"/ip4/127.0.0.1/tcp/9{own}", f"/ip4/192.0.2.1/tcp/9{own}", "rubbish"]
        status = AgentStatus(
            version="1", name="x", peer="", steward=True, swarm="", swarm_id="", state="",
            addresses=told,
        )  # fmt: skip
        monkeypatch.setattr(statussocket, "ask", lambda *_: pack_status(status))
        device = listening(garden, "/ip4/0.0.0.0/tcp/0")
        assert addresses_for(device, ()) == ("/ip4/192.0.2.1/tcp/9",)

    @pytest.mark.parametrize("answer", [None, b"", b"{}", AgentError("does not answer")])
    def test_a_chosen_port_needs_a_running_agent(
        self, garden: Device, monkeypatch: pytest.MonkeyPatch, answer: bytes | AgentError | None
    ) -> None:
        def ask(*_: object) -> bytes | None:
            if isinstance(answer, AgentError):
                raise answer
            return answer

        monkeypatch.setattr(statussocket, "ask", ask)
        with pytest.raises(ConfigError, match="nobody could reach this device: the port is chosen"):
            addresses_for(listening(garden, "/ip4/0.0.0.0/tcp/0"), ())

    def test_no_more_than_an_invite_holds(self, garden: Device) -> None:
        said = tuple(f"/ip4/192.0.2.{number}/tcp/1" for number in range(1, 9))
        assert addresses_for(garden, said) == said[:4]


@pytest.mark.parametrize(
    ("text", "seconds"), [("90m", 5400), ("12h", 43_200), ("7d", 604_800), ("never", None)]
)
def test_durations(text: str, seconds: int | None) -> None:
    assert parse_duration(text) == seconds
