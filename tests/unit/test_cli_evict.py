"""`gossamer evict`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from gossamer_agent.cli.evict import find_member
from gossamer_agent.device.folder import Device
from gossamer_agent.errors import MembershipError
from gossamer_agent.exit_codes import ExitCode
from gossamer_agent.members.stewardship import Stewardship, load_roster
from gossamer_agent.store.state import StateStore
from gossamer_crypto.identity import Identity, PeerId, peer_id_text
from gossamer_crypto.join import make_join_request
from gossamer_crypto.prekey import PrekeySecret

Gossamer = Callable[..., Any]
MEMBERS = [Identity.from_seed(bytes([seed]) * 32) for seed in range(3)]


@pytest.fixture
def state(garden: Device) -> Iterator[StateStore]:
    """The state store of `garden`, whose swarm has three members beside the steward."""
    with closing(garden.open_state()) as state:
        steward = Stewardship(garden.identity, garden.genesis, state)
        invite = steward.open_invite(["/ip4/192.0.2.7/tcp/1"], 3, None)
        for member in MEMBERS:
            prekey = PrekeySecret.generate().sign(member)
            request = make_join_request(member, prekey, invite, garden.peer_id)
            steward.answer_join(member.peer_id, request, 0)
        yield state


def members(garden: Device, state: StateStore) -> set[PeerId]:
    return {*load_roster(state, garden.genesis).members}


class TestEvict:
    def test_removes_a_member_and_renews_the_key(
        self, gossamer: Gossamer, garden: Device, state: StateStore
    ) -> None:
        epoch = load_roster(state, garden.genesis).epoch
        name = peer_id_text(MEMBERS[0].peer_id)
        ran = gossamer("-C", garden.path, "evict", name[-8:], "--yes")
        assert ran == (0, f"evicted {name}; epoch {epoch + 1} has a new key\n", "")
        assert MEMBERS[0].peer_id not in members(garden, state)
        assert len(members(garden, state)) == 3
        assert state.changed()

    def test_asks_on_a_terminal(
        self,
        gossamer: Gossamer,
        garden: Device,
        state: StateStore,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
        asked: list[str] = []

        def confirm(text: str, *, abort: bool) -> None:
            import click

            asked.append(text)
            raise click.Abort

        monkeypatch.setattr("click.confirm", confirm)
        name = peer_id_text(MEMBERS[0].peer_id)
        assert gossamer("-C", garden.path, "evict", name).code == ExitCode.INTERRUPTED
        assert asked == [f"Remove {name} from greenhouse for good?"]
        assert len(members(garden, state)) == 4

    def test_needs_a_yes_where_nobody_can_be_asked(
        self, gossamer: Gossamer, garden: Device, state: StateStore
    ) -> None:
        ran = gossamer("-C", garden.path, "evict", peer_id_text(MEMBERS[0].peer_id))
        assert ran.code == ExitCode.USAGE
        assert "add --yes" in ran.err
        assert len(members(garden, state)) == 4

    def test_a_steward_does_not_evict_itself(
        self, gossamer: Gossamer, garden: Device, state: StateStore
    ) -> None:
        ran = gossamer("-C", garden.path, "evict", peer_id_text(garden.peer_id), "--yes")
        assert ran.code != 0
        assert "does not evict itself" in ran.err

    def test_only_a_steward_evicts(
        self,
        gossamer: Gossamer,
        garden: Device,
        state: StateStore,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(Stewardship, "is_steward", False)
        ran = gossamer("-C", garden.path, "evict", peer_id_text(MEMBERS[0].peer_id), "--yes")
        assert ran.code == ExitCode.MEMBERSHIP
        assert "only a steward can evict from 'greenhouse'" in ran.err


class TestFindMember:
    PEERS = tuple(member.peer_id for member in MEMBERS)

    def test_by_either_end(self) -> None:
        for peer in self.PEERS:
            name = peer_id_text(peer)
            for said in (name, name[:20], name[-6:], f"...{name[-6:]}", f" {name} "):
                assert find_member(self.PEERS, said) == peer

    @pytest.mark.parametrize("said", ["12D3KooW", "1"])
    def test_an_end_must_fit_one_only(self, said: str) -> None:
        with pytest.raises(MembershipError, match="fits 3 members; say more of the id"):
            find_member(self.PEERS, said)

    @pytest.mark.parametrize("said", ["", "...", "nobody"])
    def test_nobody(self, said: str) -> None:
        with pytest.raises(MembershipError, match="no member is called"):
            find_member(self.PEERS, said)
