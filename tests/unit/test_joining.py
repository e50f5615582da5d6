"""Joining: nothing a steward says is believed unchecked, and what failed is said in one line."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

import pytest
import trio

from gossamer_agent.device.folder import Device
from gossamer_agent.errors import MembershipError, ModelError
from gossamer_agent.exit_codes import ExitCode
from gossamer_agent.members.joining import (
    JOIN,
    Joined,
    RefusedError,
    ask,
    check_answer,
    check_rotation,
    find_model,
    read_invite,
)
from gossamer_agent.members.stewardship import Stewardship, load_roster
from gossamer_crypto.identity import Identity, PeerId, peer_id_text
from gossamer_crypto.invite import Invite
from gossamer_crypto.join import (
    JoinAnswer,
    JoinRefusal,
    make_join_request,
    make_rotate_request,
    parse_join_answer,
)
from gossamer_crypto.keyfile import Keys
from gossamer_crypto.prekey import PrekeySecret
from gossamer_transport.errors import NetworkError, Unreachable

AT = "/ip4/192.0.2.7/tcp/4001"
STRANGER = Identity.from_seed(b"x" * 32)


def new_keys(seed: bytes) -> Keys:
    return Keys(Identity.from_seed(seed * 32), (PrekeySecret.from_bytes(seed * 32),))


KEYS, OTHER = new_keys(b"j"), new_keys(b"o")


def answer_to(garden: Device, invite: Invite, keys: Keys, now: int = 0) -> bytes:
    """What the steward of `garden` answers."""
    prekey = keys.prekeys[0].sign(keys.identity)
    request = make_join_request(keys.identity, prekey, invite, garden.peer_id)
    with closing(garden.open_state()) as state:
        steward = Stewardship(garden.identity, garden.genesis, state)
        return steward.answer_join(keys.identity.peer_id, request, now)


@pytest.fixture
def invite(garden: Device) -> Invite:
    with closing(garden.open_state()) as state:
        return Stewardship(garden.identity, garden.genesis, state).open_invite([AT], 1, 1000)


class TestCheckAnswer:
    def check(self, garden: Device, invite: Invite, raw: bytes, keys: Keys = KEYS) -> Joined:
        return check_answer(raw, invite, garden.peer_id, keys)

    def refused(self, garden: Device, invite: Invite, raw: bytes) -> str:
        with pytest.raises(MembershipError) as caught:
            self.check(garden, invite, raw)
        assert caught.value.exit_code is ExitCode.MEMBERSHIP
        assert "\n" not in str(caught.value)
        return str(caught.value)

    def test_an_honest_answer_makes_a_member(self, garden: Device, invite: Invite) -> None:
        joined = self.check(garden, invite, answer_to(garden, invite, KEYS))
        assert joined.genesis == garden.genesis
        assert joined.steward == garden.peer_id
        with closing(garden.open_state()) as state:
            assert len(joined.roster) == len(load_roster(state, garden.genesis)) == 4

    def test_asking_again_uses_nothing_up(self, garden: Device, invite: Invite) -> None:
        first = answer_to(garden, invite, KEYS)
        assert answer_to(garden, invite, KEYS, now=9999) == first
        assert "is used up" in self.refused(garden, invite, answer_to(garden, invite, OTHER))

    def test_an_expired_invite(self, garden: Device, invite: Invite) -> None:
        assert "has expired" in self.refused(garden, invite, answer_to(garden, invite, KEYS, 1000))

    @pytest.mark.parametrize("refusal", [*JoinRefusal])
    def test_every_refusal_has_its_words(
        self, garden: Device, invite: Invite, refusal: JoinRefusal
    ) -> None:
        said = self.refused(garden, invite, JoinAnswer(refusal, b"", ()).pack())
        assert len(said) > 20

    def test_another_swarm(self, garden: Device, invite: Invite) -> None:
        raw = answer_to(garden, invite, KEYS)
        other = replace(invite, swarm_id=bytes(32))
        assert "for another swarm than the invite's" in self.refused(garden, other, raw)

    def test_damaged_terms(self, garden: Device, invite: Invite) -> None:
        for genesis in (b"x", replace(garden.genesis, policy=b"new").pack()):
            raw = JoinAnswer(None, genesis, ()).pack()
            assert "terms cannot be used by this version" in self.refused(garden, invite, raw)

    @pytest.mark.parametrize("raw", [b"", b"\x90", b"x" * 99])
    def test_rubbish(self, garden: Device, invite: Invite, raw: bytes) -> None:
        assert "answer is damaged" in self.refused(garden, invite, raw)

    @pytest.mark.parametrize(
        ("spoil", "said"),
        [
            (lambda roster: roster[:2], "does not hold this device"),
            (lambda roster: (), "does not hold this device"),
            (lambda roster: roster[:3], "holds no key for this device"),
            (lambda roster: (*roster[:3], roster[3][:-1] + b"?"), "does not verify"),
            (lambda roster: roster[1:], "does not verify"),
        ],
    )
    def test_a_roster_that_is_not_right(
        self,
        garden: Device,
        invite: Invite,
        spoil: Callable[[tuple[bytes, ...]], tuple[bytes, ...]],
        said: str,
    ) -> None:
        honest = parse_join_answer(answer_to(garden, invite, KEYS))
        raw = JoinAnswer(None, honest.genesis, spoil(honest.roster)).pack()
        assert said in self.refused(garden, invite, raw)

    def test_the_key_of_another_device(self, garden: Device, invite: Invite) -> None:
        mine = Keys(KEYS.identity, OTHER.prekeys)
        with pytest.raises(MembershipError, match="does not hold this device"):
            self.check(garden, invite, answer_to(garden, invite, KEYS), mine)

    def test_who_answers_must_be_a_steward(self, garden: Device, invite: Invite) -> None:
        with pytest.raises(MembershipError, match="is no steward of the swarm"):
            check_answer(answer_to(garden, invite, KEYS), invite, STRANGER.peer_id, KEYS)


def test_a_rotation_is_checked_like_a_join(garden: Device, invite: Invite) -> None:
    answer_to(garden, invite, KEYS)
    prekey = OTHER.prekeys[0].sign(OTHER.identity)
    steward, swarm = garden.peer_id, garden.genesis.swarm_id
    request = make_rotate_request(KEYS.identity, OTHER.identity, prekey, swarm, steward)
    with closing(garden.open_state()) as state:
        stewardship = Stewardship(garden.identity, garden.genesis, state)
        raw = stewardship.answer_join(KEYS.identity.peer_id, request, 0)
    assert check_rotation(raw, garden.genesis, steward, OTHER).genesis == garden.genesis
    with pytest.raises(MembershipError, match="does not hold this device"):
        check_rotation(raw, garden.genesis, steward, KEYS)


class TestReadInvite:
    def test_in_any_case_and_with_line_breaks(self, invite: Invite) -> None:
        text = invite.text()
        assert read_invite(f" {text[:20]}\n{text[20:].upper()}\n") == invite

    @pytest.mark.parametrize("change", [lambda text: text[:-1], lambda text: text + "a"])
    def test_a_slip_is_found(self, invite: Invite, change: Callable[[str], str]) -> None:
        with pytest.raises(MembershipError, match=r"cannot be read .* copy it again, whole"):
            read_invite(change(invite.text()))


class TestFindModel:
    def test_a_shipped_one_is_found_by_itself(self, garden: Device) -> None:
        assert find_model(garden.genesis, None)[0] == "synthetic"
        assert find_model(garden.genesis, "synthetic")[0] == "synthetic"

    def test_another_one_is_refused(self, garden: Device) -> None:
        with pytest.raises(ModelError, match="softmax: is not the swarm's model"):
            find_model(garden.genesis, "softmax")

    def test_one_that_does_not_ship_is_asked_for(self, garden: Device) -> None:
        other = replace(garden.genesis, model_sha256=bytes(32))
        with pytest.raises(ModelError, match="--model FILE; the invite is not used up by that"):
            find_model(other, None)


class StandIn:
    """A network that reaches the steward of `garden` at some addresses."""

    def __init__(self, garden: Device, failures: dict[str, str] | None = None) -> None:
        self.log: list[str] = []
        self._garden = garden
        self._failures = failures or {}

    async def dial(self, address: str) -> PeerId:
        await trio.lowlevel.checkpoint()
        at = address.split("/p2p/", maxsplit=1)[0]
        self.log.append(f"dial {at}")
        if at in self._failures:
            raise Unreachable(self._failures[at])
        return self._garden.peer_id

    async def request(
        self,
        peer: PeerId,
        protocol: str,
        payload: bytes,
        *,
        response_bytes_max: int,
        timeout_s: float,
    ) -> bytes:
        await trio.lowlevel.checkpoint()
        assert (peer, protocol) == (self._garden.peer_id, JOIN)
        self.log.append("request")
        with closing(self._garden.open_state()) as state:
            steward = Stewardship(self._garden.identity, self._garden.genesis, state)
            return steward.answer_join(KEYS.identity.peer_id, payload, 0)


class TestAsk:
    @staticmethod
    def ask(network: StandIn, invite: Invite, keys: Keys = KEYS) -> Joined:
        async def main() -> Joined:
            return await ask(
                network,
                invite,
                keys,
                say=network.log.append,
                keep=lambda: network.log.append("keep"),
            )

        return trio.run(main)

    def test_keys_are_kept_before_they_are_used(self, garden: Device, invite: Invite) -> None:
        network = StandIn(garden)
        self.ask(network, invite)
        assert network.log == [f"asking the steward at {AT}", f"dial {AT}", "keep", "request"]

    def test_every_address_is_tried(self, garden: Device, invite: Invite) -> None:
        first = "/dns4/gone.example/tcp/1"
        network = StandIn(garden, {first: "timed out"})
        self.ask(network, replace(invite, addresses=(first, AT)))
        assert network.log.count("request") == 1

    def test_says_why_each_address_failed(self, garden: Device, invite: Invite) -> None:
        other = "/dns4/gone.example/tcp/1"
        network = StandIn(garden, {AT: "connection refused", other: "timed out"})
        with pytest.raises(NetworkError) as caught:
            self.ask(network, replace(invite, addresses=(AT, other)))
        assert str(caught.value) == (
            f"no steward can be reached: {AT}: connection refused; {other}: timed out"
        )
        assert "keep" not in network.log

    def test_the_address_of_somebody_else_is_not_dialled(
        self, garden: Device, invite: Invite
    ) -> None:
        network = StandIn(garden)
        with pytest.raises(NetworkError, match="no steward can be reached: no address"):
            self.ask(
                network, replace(invite, addresses=(f"{AT}/p2p/{peer_id_text(STRANGER.peer_id)}",))
            )
        assert network.log == []

    def test_who_answers_instead_is_not_asked(self, garden: Device, invite: Invite) -> None:
        network = StandIn(garden)
        impostor = replace(invite, stewards=(STRANGER.peer_id,))
        with pytest.raises(NetworkError, match="answers with another identity"):
            self.ask(network, impostor)
        assert "request" not in network.log

    def test_a_final_refusal_ends_it(self, garden: Device, invite: Invite) -> None:
        answer_to(garden, invite, OTHER)
        network = StandIn(garden)
        with pytest.raises(RefusedError, match="is used up"):
            self.ask(network, replace(invite, addresses=(AT, "/ip4/192.0.2.8/tcp/1")))
        assert network.log.count("request") == 1

    def test_an_unknown_invite_may_be_known_to_the_next(
        self, garden: Device, invite: Invite
    ) -> None:
        network = StandIn(garden)
        unknown = replace(invite, token=bytes(16), addresses=(AT, "/ip4/192.0.2.8/tcp/1"))
        with pytest.raises(RefusedError, match="does not know this invite"):
            self.ask(network, unknown)
        assert network.log.count("request") == 2
