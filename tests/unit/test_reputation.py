"""The reputation table: fast loss, slow gain, quarantine that ends by time, bounded memory."""

from __future__ import annotations

import math
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer_agent.errors import StoreError
from gossamer_agent.evidence import PIECES_MAX
from gossamer_agent.members.remembered import load_reputation, save_reputation
from gossamer_agent.reputation import (
    FORGIVEN_FROM,
    FULL_MARKS_PROGRESS,
    FULL_MARKS_RADII,
    NEWCOMER_ROUNDS,
    OFFENCES,
    PENALTY_ROUNDS,
    RELEASED,
    START,
    TIMES_MAX,
    ReputationTable,
    Row,
    Standing,
    StandingChange,
    bad_rounds_until_quarantine,
)
from gossamer_agent.store.state import StateStore
from gossamer_crypto.errors import Reason
from gossamer_crypto.identity import PeerId

NEAR, FAR = 0.7 * FULL_MARKS_RADII, 2.1 * FULL_MARKS_RADII  # for a radius of 1


def peer(number: int) -> PeerId:
    return PeerId(number.to_bytes(32, "big"))


ALICE = peer(1)


def observe_often(
    table: ReputationTable, distance: float, rounds: range, who: PeerId = ALICE
) -> list[StandingChange]:
    changes = [table.observe(who, distance, 1.0, number) for number in rounds]
    return [change for change in changes if change is not None]


def test_a_stranger_starts_in_the_middle_and_may_vote() -> None:
    table = ReputationTable()
    assert table.score(ALICE) == START
    assert not table.is_quarantined(ALICE)
    assert len(table) == 0


@pytest.mark.parametrize(
    ("limits", "mark"), [(0.0, 1.0), (1.0, 1.0), (1.5, 0.5), (2.0, 0.0), (9.0, 0.0)]
)
def test_marks_by_distance(limits: float, mark: float) -> None:
    table = ReputationTable()
    table.observe(ALICE, 10 * limits * FULL_MARKS_RADII, 10.0, 0)
    keep = 0.95 if mark > START else 0.8
    assert table.score(ALICE) == pytest.approx(keep * START + (1 - keep) * mark)


def test_a_trusted_peer_that_turns_is_out_after_five_rounds() -> None:
    table = ReputationTable()
    table.restore([(ALICE, 1.0, None, 0)])
    changes = observe_often(table, FAR, range(1, 6))
    assert [(change.standing, change.round) for change in changes] == [(Standing.QUARANTINED, 5)]
    assert table.is_quarantined(ALICE)


def test_a_newcomer_that_lies_is_out_after_two_rounds() -> None:
    changes = observe_often(ReputationTable(), FAR, range(5))
    assert [change.round for change in changes] == [1]


def test_who_is_in_quarantine_is_not_judged() -> None:
    """As in a merge that had begun before an offence: its marks lead nowhere."""
    table = ReputationTable()
    table.offence(ALICE, Reason.FORK, 0)
    before = table.snapshot()
    assert observe_often(table, NEAR, range(1, 99)) == []
    assert table.snapshot() == before


@pytest.mark.parametrize(
    ("share", "mark"), [(0.0, 1.0), (1.0, 1.0), (1.5, 0.5), (2.0, 0.0), (9.0, 0.0)]
)
def test_marks_by_progress(share: float, mark: float) -> None:
    """Far by radii: what all have learnt is the other scale."""
    table = ReputationTable()
    progress = 1000.0
    table.observe(ALICE, share * FULL_MARKS_PROGRESS * progress, 1e-9, 0, progress=progress)
    keep = 0.95 if mark > START else 0.8
    assert table.score(ALICE) == pytest.approx(keep * START + (1 - keep) * mark)


@pytest.mark.parametrize("progress", [0.0, -1.0, math.nan])
def test_without_progress_radii_alone_count(progress: float) -> None:
    table, other = ReputationTable(), ReputationTable()
    for distance in (0.1, NEAR, 1.5 * FULL_MARKS_RADII, FAR, math.inf, math.nan):
        table.observe(ALICE, distance, 1.0, 0, progress=progress)
        other.observe(ALICE, distance, 1.0, 0)
    assert repr(table.known(ALICE)) == repr(other.known(ALICE))


@given(st.floats(0, 100), st.floats(0, 100))
def test_the_larger_of_the_two_marks_counts(distance: float, progress: float) -> None:
    both, radii = ReputationTable(), ReputationTable()
    both.observe(ALICE, distance, 1.0, 0, progress=progress)
    radii.observe(ALICE, distance, 1.0, 0)
    assert both.score(ALICE) >= radii.score(ALICE)
    if distance >= max(2 * FULL_MARKS_PROGRESS * progress, 2 * FULL_MARKS_RADII):
        assert both.score(ALICE) < START


@pytest.mark.parametrize("distance", [math.nan, math.inf])
def test_no_progress_makes_up_for_a_distance_that_is_not_finite(distance: float) -> None:
    table = ReputationTable()
    table.observe(ALICE, distance, 1.0, 0, progress=1e30)
    assert table.score(ALICE) == pytest.approx(0.4)


@pytest.mark.parametrize("reason", sorted(OFFENCES))
def test_provable_offences_cost_everything_at_once(reason: Reason) -> None:
    table = ReputationTable()
    table.restore([(ALICE, 1.0, None, 0)])
    change = table.offence(ALICE, reason, 7)
    assert change == StandingChange(ALICE, Standing.QUARANTINED, 7, 0.0, reason)
    assert table.score(ALICE) == 0
    assert table.offence(ALICE, reason, 8) is None


@pytest.mark.parametrize("reason", sorted(set(Reason) - OFFENCES))
def test_what_can_befall_an_honest_peer_costs_nothing(reason: Reason) -> None:
    table = ReputationTable()
    assert table.offence(ALICE, reason, 7) is None
    assert table.score(ALICE) == START
    assert len(table) == 0


def test_offences_are_what_honest_software_never_sends() -> None:
    assert {reason.value for reason in OFFENCES} == {
        "too-large", "bad-frame", "bad-header", "bad-signature", "replayed", "fork",
        "bad-commitment", "undecryptable", "bad-delta", "non-finite", "out-of-bounds",
        "replica-mismatch",
    }  # fmt: skip


def put_out(table: ReputationTable, at: int) -> int:
    """Quarantine ALICE by bad merges from a round on, and say when that was."""
    (change,) = observe_often(table, FAR, range(at, at + 2))
    assert change.standing is Standing.QUARANTINED
    return change.round


def test_a_quarantine_ends_by_itself() -> None:
    table = ReputationTable(penalty_rounds=16)
    table.offence(ALICE, Reason.FORK, 10)
    assert table.release(25) == []
    assert table.is_quarantined(ALICE)
    assert table.release(26) == [StandingChange(ALICE, Standing.ADMITTED, 26, START)]
    assert not table.is_quarantined(ALICE)
    assert table.release(27) == []


def test_who_is_released_is_a_newcomer() -> None:
    table = ReputationTable()
    table.restore([Row(ALICE, 1.0, None, 0, judged=500)])
    observe_often(table, FAR, range(1, 6))
    (change,) = table.release(5 + PENALTY_ROUNDS)
    assert (change.score, table.score(ALICE)) == (START, START)
    assert table.is_newcomer(ALICE)
    assert table.established() == 0
    known = table.known(ALICE)
    assert known is not None
    assert (known.judged, known.returns_at, known.times) == (0, None, 1)
    assert known.change is not None
    assert (known.change.kind, known.change.words) == ("admitted", RELEASED)
    assert [piece.kind for piece in known.evidence].count("distance") == 5, "nothing is forgotten"


def test_a_release_that_was_missed_is_made_up_for() -> None:
    """The device was off in that round."""
    table = ReputationTable()
    table.offence(ALICE, Reason.FORK, 0)
    assert [change.peer for change in table.release(10**6)] == [ALICE]


def test_all_whose_time_is_over_are_released_in_order() -> None:
    table = ReputationTable()
    for number in (3, 1, 2):
        table.offence(peer(number), Reason.FORK, number)
    assert [change.peer for change in table.release(18)] == [peer(1), peer(2)]
    assert [change.peer for change in table.release(99)] == [peer(3)]


def test_each_quarantine_is_twice_as_long_up_to_a_limit() -> None:
    table, now, lasted = ReputationTable(), 0, []
    for _ in range(TIMES_MAX + 2):
        begun = put_out(table, now + 1)
        now = begun
        while not table.release(now):
            now += 1
        lasted.append(now - begun)
    expected = [PENALTY_ROUNDS * 2**times for times in range(TIMES_MAX)]
    assert lasted == [*expected, expected[-1], expected[-1]]
    assert expected[-1] == 64 * PENALTY_ROUNDS


def test_good_standing_for_long_forgives_former_quarantines() -> None:
    table, now = ReputationTable(), 0
    for _ in range(3):
        now = put_out(table, now + 1) + 100
        assert len(table.release(now)) == 1
    merges = 0
    while table.score(ALICE) < FORGIVEN_FROM:
        assert table.snapshot()[0].times == 3
        table.observe(ALICE, NEAR, 1.0, now)
        merges += 1
    assert table.snapshot()[0].times == 0
    assert merges == 32
    table.offence(ALICE, Reason.FORK, now)
    known = table.known(ALICE)
    assert known is not None
    assert (known.times, known.returns_at) == (1, now + PENALTY_ROUNDS)


def test_an_offence_in_quarantine_starts_the_penalty_again() -> None:
    """As long as before: a flood of them is one quarantine."""
    table = ReputationTable()
    table.offence(ALICE, Reason.FORK, 0)
    for round_ in range(11):
        assert table.offence(ALICE, Reason.REPLAYED, round_) is None
    assert table.release(25) == []
    assert len(table.release(26)) == 1
    assert table.snapshot()[0].times == 1


@pytest.mark.parametrize("radius", [0.0, -1.0, math.nan, math.inf])
def test_without_a_scale_nothing_is_learnt(radius: float) -> None:
    table = ReputationTable()
    assert table.observe(ALICE, 5.0, radius, 0) is None
    assert len(table) == 0


@pytest.mark.parametrize("distance", [math.nan, math.inf])
def test_a_distance_that_is_not_finite_gives_no_marks(distance: float) -> None:
    table = ReputationTable()
    table.observe(ALICE, distance, 1.0, 0)
    assert table.score(ALICE) == pytest.approx(0.4)


def test_copies_cost_nothing() -> None:
    """Whoever copies a peer must not be able to frame it."""
    table = ReputationTable()
    for number in range(20):
        for clone in range(2, 8):
            table.observe(peer(clone), NEAR, 1.0, number)
        table.observe(ALICE, NEAR, 1.0, number)
    assert table.score(ALICE) == table.score(peer(2)) > 0.8


def test_a_snapshot_restores_everything() -> None:
    table = ReputationTable()
    observe_often(table, 1.4 * FULL_MARKS_RADII, range(3), peer(9))
    table.offence(ALICE, Reason.FORK, 5)
    other = ReputationTable()
    other.restore(table.snapshot())
    assert other.snapshot() == table.snapshot()
    assert [row[0] for row in table.snapshot()] == [ALICE, peer(9)]
    assert other.is_quarantined(ALICE)
    assert other.release(20) == []
    assert len(other.release(21)) == 1


@pytest.mark.parametrize(
    "row",
    [
        (b"short", 0.5, None, 0),
        (ALICE, 1.5, None, 0),
        (ALICE, math.nan, None, 0),
        (ALICE, 0.5, None, -1),
        (ALICE, 0.5, -1, 0),
        (ALICE, 0.5, 3, 2),
        (ALICE, 0.5, None, None),
        (ALICE, "x", None, 0),
        (None, 0.5, None, 0),
        (ALICE, 0.5),
        Row(ALICE, 0.5, None, 0, times=-1),
        Row(ALICE, 0.5, None, 0, times=TIMES_MAX + 1),
    ],
)
def test_a_damaged_row_changes_nothing(row: tuple) -> None:
    table = ReputationTable()
    table.offence(ALICE, Reason.FORK, 5)
    before = table.snapshot()
    with pytest.raises(StoreError, match="row 1 is damaged"):
        table.restore([(peer(3), 0.5, None, 0), row])
    assert table.snapshot() == before


def test_a_full_table_forgets_good_standing_before_quarantine() -> None:
    table = ReputationTable(peers_max=3)
    table.offence(peer(1), Reason.FORK, 0)
    table.observe(peer(2), NEAR, 1.0, 1)
    table.observe(peer(3), FAR, 1.0, 1)  # doubtful: below the start
    table.observe(peer(4), NEAR, 1.0, 2)
    assert [row[0] for row in table.snapshot()] == [peer(1), peer(3), peer(4)]
    table.observe(peer(5), NEAR, 1.0, 3)
    assert [row[0] for row in table.snapshot()] == [peer(1), peer(3), peer(5)]
    table.offence(peer(6), Reason.FORK, 4)
    table.offence(peer(7), Reason.FORK, 5)
    assert [row[0] for row in table.snapshot()] == [peer(1), peer(6), peer(7)]


def test_a_flood_of_identities_does_not_grow_the_table() -> None:
    table = ReputationTable(peers_max=10)
    table.offence(ALICE, Reason.FORK, 0)
    for number in range(2, 200):
        table.observe(peer(number), FAR, 1.0, number)
    assert len(table) == 10
    assert table.is_quarantined(ALICE)


def test_restoring_more_than_fits_keeps_the_worst() -> None:
    table = ReputationTable(peers_max=2)
    table.restore([(peer(1), 0.9, None, 9), (peer(2), 0.0, 1, 1), (peer(3), 0.4, None, 2)])
    assert [row[0] for row in table.snapshot()] == [peer(2), peer(3)]


@pytest.mark.parametrize("limits", [{"peers_max": 0}, {"penalty_rounds": 0}])
def test_impossible_limits_are_refused(limits: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="positive"):
        ReputationTable(**limits)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 10), max_size=60), st.integers(1, 9))
def test_score_and_standing_stay_consistent(distances: list[float], penalty: int) -> None:
    table = ReputationTable(penalty_rounds=penalty)
    out = False
    for number, distance in enumerate(distances):
        released = table.release(number)
        assert out or not released
        out = out and not released
        change = table.observe(ALICE, distance, 1.0, number)
        if change is not None:
            assert change.standing is Standing.QUARANTINED
            assert not out
            out = True
        assert table.is_quarantined(ALICE) == out
        score = table.score(ALICE)
        assert 0 <= score <= 1
        assert out == (score < 0.35)


class TestBans:
    def test_a_ban_is_for_good(self) -> None:
        table = ReputationTable()
        change = table.ban(ALICE, 3)
        assert change == StandingChange(ALICE, Standing.BANNED, 3, 0.0, Reason.FORK)
        assert table.ban(ALICE, 4) is None
        assert observe_often(table, NEAR, range(5, 99)) == []
        assert (table.standing(ALICE), table.score(ALICE)) == (Standing.BANNED, 0.0)
        assert table.is_banned(ALICE)
        assert table.is_quarantined(ALICE)
        assert table.release(10**9) == []
        assert table.offence(ALICE, Reason.BAD_FRAME, 100) is None

    def test_quarantine_does_not_hide_a_ban(self) -> None:
        table = ReputationTable()
        table.offence(ALICE, Reason.BAD_FRAME, 1)
        assert not table.is_banned(ALICE)
        assert table.ban(ALICE, 2) is not None
        assert table.is_banned(ALICE)
        assert table.release(99) == []
        assert table.is_banned(ALICE)

    def test_a_ban_survives_a_snapshot(self) -> None:
        table, other = ReputationTable(), ReputationTable()
        table.ban(ALICE, 3)
        other.restore(table.snapshot())
        assert other.is_banned(ALICE)

    def test_only_a_ban_bans(self) -> None:
        table = ReputationTable()
        for reason in Reason:
            table.offence(ALICE, reason, 1)
        observe_often(table, math.inf, range(2, 99))
        assert table.standing(ALICE) is Standing.QUARANTINED

    def test_a_flood_of_offenders_pushes_no_ban_out(self) -> None:
        table = ReputationTable(peers_max=5)
        table.ban(ALICE, 0)
        for number in range(2, 99):
            table.offence(peer(number), Reason.BAD_FRAME, number)
            table.observe(peer(1000 + number), NEAR, 1.0, number)
        assert len(table) == 5
        assert table.is_banned(ALICE)

    def test_only_more_bans_than_fit_push_a_ban_out(self) -> None:
        table = ReputationTable(peers_max=2)
        for number in (1, 2, 3):
            table.ban(peer(number), number)
        assert table.peers() == [peer(2), peer(3)]


def test_what_is_stored_and_read_again_is_the_same(tmp_path: Path) -> None:
    table = ReputationTable()
    observe_often(table, NEAR, range(3), peer(9))
    put_out(table, 1)
    table.ban(peer(2), 3)
    table.offence(peer(3), Reason.BAD_FRAME, 4, "detail")
    assert len(table.release(20)) == 2
    put_out(table, 41)
    table.offence(peer(3), Reason.BAD_FRAME, 43)
    assert [row.times for row in table.snapshot()] == [2, 0, 2, 0]
    with closing(StateStore(tmp_path / "state.sqlite3")) as state:
        save_reputation(state, table)
        again, lost = ReputationTable(), ReputationTable()
        load_reputation(state, again, 50)
        load_reputation(state, lost, 5)  # the own feed was lost; rounds count from 0 again
    assert again.snapshot() == table.snapshot()
    assert lost.is_banned(peer(2))
    assert [len(lost.release(round_)) for round_ in (36, 37)] == [0, 2]
    assert not lost.is_newcomer(peer(9))


class TestNewcomers:
    def test_three_merges_establish_a_peer(self) -> None:
        table = ReputationTable()
        assert table.is_newcomer(ALICE)
        for number in range(NEWCOMER_ROUNDS):
            assert table.is_newcomer(ALICE)
            assert table.established() == 0
            table.observe(ALICE, FAR if number else NEAR, 1.0, number)
        assert not table.is_newcomer(ALICE)

    def test_only_merges_with_a_scale_count(self) -> None:
        table = ReputationTable()
        for number in range(9):
            table.observe(ALICE, NEAR, 0.0, number)
            table.offence(ALICE, Reason.BAD_FRAME, number)
        assert table.is_newcomer(ALICE)

    def test_only_admitted_peers_are_established(self) -> None:
        table = ReputationTable()
        observe_often(table, NEAR, range(3))
        observe_often(table, NEAR, range(3), peer(2))
        assert table.established() == 2
        table.offence(peer(2), Reason.BAD_FRAME, 4)
        assert table.established() == 1

    def test_a_restart_makes_nobody_a_newcomer(self) -> None:
        table, other = ReputationTable(), ReputationTable()
        observe_often(table, NEAR, range(3))
        other.restore(table.snapshot())
        assert not other.is_newcomer(ALICE)

    def test_a_table_of_an_older_version_knows_only_newcomers(self) -> None:
        table = ReputationTable()
        table.restore([Row(ALICE, 0.9, None, 50)])
        assert table.is_newcomer(ALICE)
        assert table.established() == 0


class TestEvidence:
    def test_marks_are_told_with_what_was_measured(self) -> None:
        table = ReputationTable()
        table.observe(ALICE, 60.0, 10.0, 7)
        known = table.known(ALICE)
        assert known is not None
        (piece,) = known.evidence
        assert (piece.round, piece.kind, piece.value, piece.mark) == (7, "distance", 6.0, 0.5)
        assert piece.score == pytest.approx(table.score(ALICE))
        assert (known.judged, known.newcomer, known.change) == (1, True, None)
        assert known.last_mark == piece

    def test_a_mark_by_progress_tells_the_share(self) -> None:
        table = ReputationTable()
        table.observe(ALICE, 60.0, 1.0, 7, progress=200.0)
        known = table.known(ALICE)
        assert known is not None
        (piece,) = known.evidence
        assert (piece.kind, piece.mark) == ("progress", pytest.approx(0.8))
        assert piece.value == pytest.approx(0.3)
        assert known.last_mark == piece

    def test_a_change_of_standing_says_what_led_to_it(self) -> None:
        table = ReputationTable()
        table.offence(ALICE, Reason.BAD_DELTA, 9, "step 3 is \x1b odd")
        known = table.known(ALICE)
        assert known is not None
        assert [piece.kind for piece in known.evidence] == ["offence", "quarantined"]
        assert known.evidence[0].words == "bad-delta: step 3 is ? odd"
        assert known.change is not None
        assert (known.change.round, known.change.words) == (9, "bad-delta")
        assert known.returns_at == 25
        assert known.last_mark is None

    def test_the_last_change_is_never_pushed_out(self) -> None:
        table = ReputationTable()
        observe_often(table, FAR, range(2))
        table.release(20)
        observe_often(table, 1.5 * FULL_MARKS_RADII, range(20, 200))
        known = table.known(ALICE)
        assert known is not None
        assert known.change is not None
        assert (known.change.kind, known.change.round) == ("admitted", 20)
        assert len(known.evidence) == PIECES_MAX

    def test_a_flood_of_offences_does_not_wash_the_marks_away(self) -> None:
        table = ReputationTable()
        observe_often(table, FAR, range(3))
        for number in range(1000):
            table.offence(ALICE, Reason.BAD_FRAME, 3, f"byte {number}")
        known = table.known(ALICE)
        assert known is not None
        assert [piece.round for piece in known.evidence] == [0, 1, 1, 3]

    def test_evidence_survives_a_snapshot(self) -> None:
        table, other = ReputationTable(), ReputationTable()
        observe_often(table, NEAR, range(40))
        table.offence(ALICE, Reason.BAD_FRAME, 40)
        other.restore(table.snapshot())
        assert repr(other.known(ALICE)) == repr(table.known(ALICE))

    def test_the_table_stays_small(self) -> None:
        table = ReputationTable(peers_max=8)
        for number in range(300):
            for reason in OFFENCES:
                table.offence(peer(number % 20), reason, number, "x" * 1000)
        assert sum(len(row.ring) + len(row.change) for row in table.snapshot()) < 8 * 4000

    @pytest.mark.parametrize("field", ["ring", "change"])
    def test_damaged_evidence_is_refused(self, field: str) -> None:
        table = ReputationTable()
        observe_often(table, FAR, range(3))
        (row,) = table.snapshot()
        damaged = row._replace(**{field: getattr(row, field)[:-1]})
        with pytest.raises(StoreError, match="row 0 is damaged"):
            ReputationTable().restore([damaged])

    def test_nothing_is_known_of_a_stranger(self) -> None:
        assert ReputationTable().known(ALICE) is None


@pytest.mark.parametrize("score", [0.36, 0.5, 1.0])
def test_so_many_bad_rounds_cost_a_peer_its_vote(score: float) -> None:
    table = ReputationTable()
    table.restore([Row(ALICE, score, None, 0)])
    rounds = bad_rounds_until_quarantine(score)
    assert observe_often(table, FAR, range(1, rounds)) == []
    assert len(observe_often(table, FAR, range(rounds, rounds + 1))) == 1
