"""`gossamer reputation`: the table and the story, from what a folder holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from gossamer_agent.device.folder import Device
from gossamer_agent.exit_codes import ExitCode
from gossamer_agent.members.remembered import (
    REPUTATION,
    load_reputation,
    save_fork,
    save_reputation,
)
from gossamer_agent.members.stewardship import load_roster, store_roster
from gossamer_agent.reputation import ReputationTable
from gossamer_crypto.envelope import Kind, seal
from gossamer_crypto.errors import Reason
from gossamer_crypto.fork_proof import fork_proof
from gossamer_crypto.identity import Identity, PeerId, peer_id_text
from gossamer_crypto.prekey import PrekeySecret

if TYPE_CHECKING:
    from conftest import Ran

Program = Callable[..., "Ran"]

GOOD, FAR, RUDE, GUEST, NEW = (Identity.from_seed(bytes([n]) * 32) for n in range(5))
NAMES = {who: peer_id_text(who.peer_id) for who in (GOOD, FAR, RUDE, GUEST, NEW)}


@pytest.fixture
def judged(garden: Device) -> Device:
    """A garden with four members, one of them a guest of another, and opinions on three."""
    with closing(garden.open_state()) as state:
        roster = load_roster(state, garden.genesis)
        for who in (GOOD, FAR, RUDE, GUEST):
            prekey = PrekeySecret.from_bytes(who.peer_id).sign(who)
            inviter = GOOD.peer_id if who is GUEST else garden.peer_id
            entry = roster.extend(roster.make_add(garden.identity, prekey, inviter))
            assert entry is not None
            store_roster(state, [entry])
        table = ReputationTable()
        for round_ in range(1, 10):
            table.observe(GOOD.peer_id, 1.2, 1.0, round_)
            table.observe(FAR.peer_id, 1.0 if round_ < 4 else 9.9, 1.0, round_)
        table.offence(RUDE.peer_id, Reason.BAD_SIGNATURE, 9, "of head 7")
        table.observe(NEW.peer_id, 1.0, 1.0, 9)
        save_reputation(state, table)
    return garden


def shown(gossamer: Program, device: Device) -> list[dict[str, Any]]:
    ran = gossamer("-C", device.path, "reputation", "show", "--json")
    assert (ran.code, ran.err) == (0, "")
    told: list[dict[str, Any]] = json.loads(ran.out)
    return told


def explained(gossamer: Program, device: Device, who: Identity) -> str:
    ran = gossamer("-C", device.path, "reputation", "explain", NAMES[who])
    assert (ran.code, ran.err) == (0, "")
    return str(" ".join(ran.out.split()))


class TestShow:
    def test_the_worst_comes_first(self, gossamer: Program, judged: Device) -> None:
        ran = gossamer("-C", judged.path, "reputation", "show")
        assert ran.code == 0
        lines = [line.split() for line in ran.out.splitlines() if line[0] != " "]
        names = [f"...{NAMES[who][-8:]}" for who in (RUDE, FAR, NEW, GOOD)]
        assert [line[0] for line in lines] == ["peer", *names]
        assert lines[1][1:] == ["quarantined", "0.00", "0", "-", "bad-signature,", "round", "9"]
        assert lines[2][1:] == [
            "quarantined",
            "0.29",
            "6",
            "9.90",
            "radii",
            "distance,",
            "round",
            "6",
        ]
        assert lines[3][1:4] == ["admitted", "0.53", "1"]
        assert "newcomer, 1 of 3 merges; no member any more" in " ".join(ran.out.split())
        assert lines[4][1:] == ["admitted", "0.68", "9", "1.20", "radii"]

    def test_json_has_whole_ids_and_numbers(self, gossamer: Program, judged: Device) -> None:
        told = {row["peer"]: row for row in shown(gossamer, judged)}
        far = told[NAMES[FAR]]
        assert (far["standing"], far["judged"], far["since_round"]) == ("quarantined", 6, 6)
        assert (far["returns_round"], far["times"], far["bad_rounds"]) == (22, 1, None)
        assert far["distance_radii"] == pytest.approx(9.9)
        assert [piece["kind"] for piece in far["evidence"]].count("distance") == 6
        rude = told[NAMES[RUDE]]
        assert (rude["distance_radii"], rude["mark"], rude["returns_round"]) == (None, None, 25)
        assert told[NAMES[GOOD]]["subtree"] == NAMES[GOOD]

    def test_a_device_that_judged_nobody_says_so(self, gossamer: Program, garden: Device) -> None:
        ran = gossamer("-C", garden.path, "reputation", "show")
        assert (ran.code, ran.err) == (0, "")
        assert ran.out.startswith("this device has judged nobody yet")
        assert shown(gossamer, garden) == []


class TestExplain:
    def test_a_peer_that_lay_too_far_away(self, gossamer: Program, judged: Device) -> None:
        told = explained(gossamer, judged, FAR)
        assert "quarantined since round 6, score 0.29" in told
        assert "its score fell below 0.35" in told
        assert "4 9.90 radii 0.00 0.46 5 9.90 radii 0.00 0.37 6 9.90 radii 0.00 0.29" in told
        assert "6 0.29 lost its vote (distance)" in told
        assert "too far from half of the others in the merges" in told
        assert "round 22 releases it (now 9): it begins anew, as a newcomer" in told
        assert "another quarantine lasts twice as long" in told

    def test_a_peer_that_was_released(self, gossamer: Program, judged: Device) -> None:
        with closing(judged.open_state()) as state:
            table = ReputationTable()
            load_reputation(state, table, 9)
            assert [change.peer for change in table.release(22)] == [FAR.peer_id]
            save_reputation(state, table)
        told = explained(gossamer, judged, FAR)
        assert "admitted since round 22, score 0.50" in told
        assert "why its time in quarantine was over: it began anew, as a newcomer" in told
        assert "22 0.50 votes again (released)" in told
        assert "2 merges in a row at 8 radii or more" in told

    def test_a_peer_that_is_far_but_not_for_what_was_learnt(
        self, gossamer: Program, judged: Device
    ) -> None:
        with closing(judged.open_state()) as state:
            table = ReputationTable()
            table.observe(GOOD.peer_id, 99.0, 1.0, 9, progress=900.0)
            save_reputation(state, table)
        (row,) = shown(gossamer, judged)
        assert (row["distance_radii"], row["mark"]) == (None, 1.0)
        assert row["distance_progress"] == pytest.approx(0.11)
        ran = gossamer("-C", judged.path, "reputation", "show")
        assert "0.11 progress" in " ".join(ran.out.split())
        assert "9 0.11 progress 1.00 0.53" in explained(gossamer, judged, GOOD)

    def test_an_offender(self, gossamer: Program, judged: Device) -> None:
        told = explained(gossamer, judged, RUDE)
        assert "an offence, which costs the whole score at once: bad-signature" in told
        assert "offence: bad-signature: of head 7" in told

    def test_a_peer_in_good_standing(self, gossamer: Program, judged: Device) -> None:
        told = explained(gossamer, judged, GOOD)
        assert "admitted, score 0.68" in told
        assert "why" not in told
        assert (
            "4 merges in a row at 8 radii or more, and 0.5 of the progress since genesis or more, "
            "would cost its vote"
        ) in told
        assert f"one of 2 in the subtree of ...{NAMES[GOOD][-8:]}" in told

    def test_a_newcomer_in_a_subtree(self, gossamer: Program, judged: Device) -> None:
        told = explained(gossamer, judged, GUEST)
        assert f"invited by ...{NAMES[GOOD][-8:]}" in told
        assert "a third of the votes of a merge at most" in told
        assert "newcomer, judged in 0 of 3 merges; their votes are not bounded" in told
        assert "never: this device has heard nothing" in told

    def test_newcomers_are_bounded_where_enough_are_known(
        self, gossamer: Program, judged: Device
    ) -> None:
        with closing(judged.open_state()) as state:
            table = ReputationTable()
            for round_ in range(3):
                table.observe(GOOD.peer_id, 1.0, 1.0, round_)
                table.observe(FAR.peer_id, 1.0, 1.0, round_)
            save_reputation(state, table)
        assert "until then all newcomers together" in explained(gossamer, judged, GUEST)

    def test_a_forker(self, gossamer: Program, judged: Device) -> None:
        """The proof is kept at once, the table only now and then: the proof is enough."""
        heads = [
            seal(
                FAR, kind=Kind.DELTA, plaintext=body, secret=bytes(32), epoch=1, incarnation=0,
                swarm=judged.genesis.swarm_id, seq=4, prev=bytes(32), salt=body * 32,
            ).head
            for body in (b"a", b"b")
        ]  # fmt: skip
        with closing(judged.open_state()) as state:
            save_fork(state, fork_proof(*heads))
        told = explained(gossamer, judged, FAR)
        assert "banned since round 9, score 0.00" in told
        assert "signed two entries 4; both signatures were verified here" in told
        assert "nothing readmits it" in told
        row = next(row for row in shown(gossamer, judged) if row["peer"] == NAMES[FAR])
        assert (row["standing"], row["returns_round"]) == ("banned", None)

    def test_this_device_itself(self, gossamer: Program, judged: Device) -> None:
        ran = gossamer("-C", judged.path, "reputation", "explain", peer_id_text(judged.peer_id))
        assert "nobody judges itself" in ran.out

    def test_a_part_of_an_id_will_do(self, gossamer: Program, judged: Device) -> None:
        for part in (f"...{NAMES[FAR][-6:]}", NAMES[FAR][:14]):
            ran = gossamer("-C", judged.path, "reputation", "explain", part, "--json")
            assert json.loads(ran.out)["peer"] == NAMES[FAR]

    @pytest.mark.parametrize(
        ("part", "said"), [("12D3", "fits 6 members"), ("nobody", "no member"), ("", "no member")]
    )
    def test_other_words_cost_one_line(
        self, gossamer: Program, judged: Device, part: str, said: str
    ) -> None:
        ran = gossamer("-C", judged.path, "reputation", "explain", part)
        assert (ran.code, ran.out) == (ExitCode.MEMBERSHIP, "")
        assert said in ran.err
        assert len(ran.err.splitlines()) == 1


@pytest.mark.parametrize("command", [["show"], ["explain", "x"]])
def test_a_folder_that_is_no_device_s_costs_one_line(
    gossamer: Program, garden: Device, command: list[str]
) -> None:
    ran = gossamer("-C", garden.path.parent, "reputation", *command)
    assert (ran.code, ran.out) == (ExitCode.STORE, "")
    assert len(ran.err.splitlines()) == 1


def test_a_table_of_an_older_version_is_shown(gossamer: Program, garden: Device) -> None:
    with closing(garden.open_state()) as state:
        old = bytes.fromhex("3fd000000000000000000000000000070000000000000009")
        state.put(REPUTATION, PeerId(b"o" * 32), old)
    (row,) = shown(gossamer, garden)
    assert (row["score"], row["standing"], row["last_round"]) == (0.25, "quarantined", 9)
    assert (row["judged"], row["why"], row["evidence"]) == (0, None, [])


def test_a_damaged_table_costs_one_line(gossamer: Program, garden: Device) -> None:
    with closing(garden.open_state()) as state:
        state.put(REPUTATION, b"o" * 32, b"\x02" * 50)
    ran = gossamer("-C", garden.path, "reputation", "show")
    assert (ran.code, ran.out) == (ExitCode.STORE, "")
    assert len(ran.err.splitlines()) == 1
