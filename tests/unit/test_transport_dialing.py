from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from gossamer_crypto.identity import Identity, PeerId, peer_id_text
from gossamer_transport.address_book import AddressBook, Provenance
from gossamer_transport.dialing import NO_ADDRESS, Attempt, DialSchedule
from gossamer_transport.errors import NetworkError, Unreachable
from gossamer_transport.libp2p.dialer import Dialer

OWN, ONE, TWO, SIX = (Identity.from_seed(bytes([number]) * 32).peer_id for number in (1, 2, 3, 6))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def at(peer: PeerId) -> tuple[str, ...]:
    return (f"/dns/{peer.hex()[:8]}/tcp/1",)


def nowhere(peer: PeerId) -> Sequence[str]:
    return ()


def test_all_are_dialled_a_few_at_once() -> None:
    schedule = DialSchedule(rng(), parallel=2)
    first = schedule.next(0, [ONE, TWO, SIX], [], at)
    assert len(first) == 2
    assert schedule.next(0, [ONE, TWO, SIX], [], at) == ()
    schedule.failed(first[0].peer, "connection refused", 0)
    (second,) = schedule.next(0, [ONE, TWO, SIX], [], at)
    assert {attempt.peer for attempt in (*first, second)} == {ONE, TWO, SIX}


def test_no_more_links_than_wanted() -> None:
    schedule = DialSchedule(rng(), want=2)
    (attempt,) = schedule.next(0, [ONE, TWO, SIX], [ONE], at)
    assert attempt.peer in (TWO, SIX)
    assert schedule.next(0, [ONE, TWO, SIX], [ONE], at) == ()
    schedule.succeeded(attempt.peer, 0)
    assert schedule.next(1, [ONE, TWO, SIX], [ONE, attempt.peer], at) == ()
    assert len(schedule.next(40, [ONE, TWO, SIX], [ONE], at)) == 1


def test_the_preferred_are_dialled_first_and_beyond_what_is_wanted() -> None:
    everybody = [ONE, TWO, SIX]
    schedule = DialSchedule(rng(), want=1, parallel=1)
    (attempt,) = schedule.next(0, everybody, [ONE], at, [SIX])
    assert attempt.peer == SIX
    assert schedule.next(0, everybody, [ONE], at, [SIX]) == ()
    schedule.failed(SIX, "connection refused", 0)
    assert schedule.next(0, everybody, [ONE], at, [SIX]) == ()  # it waits, and one link is enough
    (other,) = schedule.next(0, everybody, [ONE], at, [SIX, ONE])  # that one does not count now
    assert other.peer == TWO
    schedule.succeeded(TWO, 0)
    assert schedule.next(0, everybody, [ONE, TWO], at, [SIX, ONE]) == ()
    assert [each.peer for each in schedule.next(60, everybody, [ONE, TWO], at, [SIX])] == [SIX]


def test_a_preferred_stranger_is_not_dialled() -> None:
    assert DialSchedule(rng(), want=0).next(0, [ONE], [], at, [TWO]) == ()


def test_relayed_addresses_come_last() -> None:
    relayed, direct = f"/dns/a/tcp/1/p2p/{peer_id_text(TWO)}/p2p-circuit", "/dns/b/tcp/1"
    schedule = DialSchedule(rng())
    assert schedule.next(0, [ONE], [], lambda _: (relayed, direct)) == (
        Attempt(ONE, (direct, relayed)),
    )


def test_who_has_no_address_is_not_dialled_but_named() -> None:
    schedule = DialSchedule(rng())
    assert schedule.next(0, [ONE], [], nowhere) == ()
    assert schedule.failures() == {ONE: NO_ADDRESS}
    assert len(schedule.next(1, [ONE], [], at)) == 1
    assert schedule.failures() == {}


def waits(seed: int, count: int) -> list[float]:
    schedule, now, found = DialSchedule(rng(seed)), 0.0, []
    for _ in range(count):
        began = now
        while not schedule.next(now, [ONE], [], at):
            now += 0.25
        found.append(now - began)
        schedule.failed(ONE, "timed out", now)
    return found


def test_the_backoff_grows_to_a_minute_and_is_spread() -> None:
    samples = np.array([waits(seed, 12) for seed in range(40)])
    assert (samples[:, 0] == 0).all()
    for number, bound in enumerate([2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60], start=1):
        column = samples[:, number]
        assert column.min() >= 1 and column.max() <= bound + 0.25
        assert abs(column.mean() - (1 + bound) / 2) < 0.2 * bound


def test_a_link_that_lasts_resets_the_backoff() -> None:
    schedule = DialSchedule(rng())
    for number in range(6):
        schedule.next(100 * number, [ONE], [], at)
        schedule.failed(ONE, "timed out", 100 * number)
    schedule.next(600, [ONE], [], at)
    assert schedule.failures() == {ONE: "timed out"}
    schedule.succeeded(ONE, 600)
    assert schedule.failures() == {}
    schedule.next(601, [ONE], [ONE], at)
    assert schedule.failures() == {}
    assert len(schedule.next(632, [ONE], [], at)) == 1


def test_who_cuts_every_link_is_backed_off_from() -> None:
    schedule, dialled = DialSchedule(rng()), 0
    for now in range(600):
        linked = []
        if schedule.next(now, [ONE], [], at):
            dialled += 1
            schedule.succeeded(ONE, now)
            linked = [ONE]
        schedule.next(now + 0.5, [ONE], linked, nowhere)
    assert 12 < dialled < 50
    assert schedule.failures() == {ONE: "the link was cut at once"}


def test_a_new_address_is_tried_soon_but_not_at_once() -> None:
    schedule, known, tries, now = DialSchedule(rng()), ["/dns/a/tcp/1"], [], 0.0
    for _ in range(9):
        while not schedule.next(now, [ONE], [], at):
            now += 0.25
        schedule.failed(ONE, "timed out", now)
    for number in range(100):  # a rumour every quarter of a second
        known[0] = f"/dns/a{number}/tcp/1"
        if schedule.next(now, [ONE], [], lambda _: known):
            tries.append(now)
            schedule.failed(ONE, "timed out", now)
        now += 0.25
    assert 4 <= len(tries) <= 8  # the backoff's jitter may be shorter than the bound


def test_who_is_no_member_any_more_is_forgotten() -> None:
    schedule = DialSchedule(rng())
    schedule.next(0, [ONE], [], at)
    schedule.next(0, [], [], at)
    schedule.failed(ONE, "timed out", 0)
    assert schedule.failures() == {}
    assert len(schedule.next(0, [ONE], [], at)) == 1


def test_a_failure_text_is_bounded() -> None:
    schedule = DialSchedule(rng())
    schedule.next(0, [ONE], [], at)
    schedule.failed(ONE, "x" * 100_000, 0)
    assert len(schedule.failures()[ONE]) == 1024


@pytest.mark.parametrize("bad", [{"want": -1}, {"parallel": 0}])
def test_impossible_schedules(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least"):
        DialSchedule(rng(), **bad)


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["fail", "link", "cut", "leave"]))))
def test_whatever_happens_the_bounds_hold(events: list[tuple[int, str]]) -> None:
    peers = [PeerId(bytes([number]) * 32) for number in range(6)]
    schedule = DialSchedule(rng(), want=3, parallel=2)
    members, linked, dialled, now = set(peers), set[PeerId](), set[PeerId](), 0.0
    for number, event in events:
        now += 0.5
        peer = peers[number]
        members.add(peer)
        match event:
            case "fail" if peer in dialled:
                schedule.failed(peer, "timed out", now)
                dialled.remove(peer)
            case "link" if peer in dialled:
                schedule.succeeded(peer, now)
                dialled.remove(peer)
                linked.add(peer)
            case "cut":
                linked.discard(peer)
            case "leave":
                members.discard(peer)
        started = {attempt.peer for attempt in schedule.next(now, members, linked, at)}
        assert not started & dialled
        assert started <= members - linked
        dialled |= started
        assert len(dialled) <= 2
        assert not started or len(linked) + len(dialled) <= 3
        assert set(schedule.failures()) <= members - linked


class Stand:
    """A network whose addresses answer as `answers` says."""

    def __init__(self, answers: dict[str, PeerId | str | None]) -> None:
        self.answers = answers
        self.linked: set[PeerId] = set()
        self.dialled: list[tuple[float, str]] = []
        self.closed = False

    @property
    def peer_id(self) -> PeerId:
        return OWN

    def peers(self) -> tuple[PeerId, ...]:
        if self.closed:
            raise NetworkError("the network is closed")
        return tuple(sorted(self.linked))

    async def dial(self, address: str) -> PeerId:
        await trio.sleep(0.1)
        self.dialled.append((trio.current_time(), address))
        match self.answers[address]:
            case None:
                await trio.sleep_forever()
            case str(failure):
                raise Unreachable(failure)
            case bytes(peer):
                self.linked.add(PeerId(peer))
                return PeerId(peer)
        raise AssertionError


def book_of(*texts: tuple[PeerId, str]) -> AddressBook:
    book = AddressBook(OWN)
    for peer, text in texts:
        book.learn(peer, text, Provenance.OWN_WORD)
    return book


def test_the_dialer_tries_all_addresses_and_keeps_the_link() -> None:
    book = book_of((ONE, "/dns/good/tcp/1"), (ONE, "/dns/silent/tcp/1"), (ONE, "/dns/shut/tcp/1"))
    shut, silent, good = book.addresses(ONE)
    stand = Stand({shut: "connection refused", silent: None, good: ONE})

    async def scenario() -> None:
        dialer = Dialer(stand, book, lambda: [OWN, ONE], rng())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(dialer.run)
            await trio.sleep(100)
            assert [address for _, address in stand.dialled] == [shut, silent, good]
            assert dialer.failures() == {}
            stand.linked.clear()
            stand.answers[shut] = ONE
            await trio.sleep(2)
            assert stand.linked == {ONE}
            assert len(stand.dialled) == 4
            stand.closed = True  # ends the dialer, and with it the nursery

    trio.run(scenario, clock=trio.testing.MockClock(autojump_threshold=0))


def test_the_dialer_asks_whom_to_prefer() -> None:
    book = book_of((ONE, "/dns/a/tcp/1"), (TWO, "/dns/b/tcp/1"))
    stand = Stand({book.addresses(ONE)[0]: ONE, book.addresses(TWO)[0]: TWO})
    followed: set[PeerId] = set()

    async def scenario() -> None:
        dialer = Dialer(stand, book, lambda: [ONE, TWO], rng(), 0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(dialer.run, lambda: followed)
            await trio.sleep(10)
            assert not stand.dialled
            followed.add(TWO)
            await trio.sleep(2)
            assert stand.linked == {TWO}
            nursery.cancel_scope.cancel()

    trio.run(scenario, clock=trio.testing.MockClock(autojump_threshold=0))


def test_the_dialer_says_why_there_is_no_link() -> None:
    book = book_of((ONE, "/dns/b/tcp/1"), (ONE, "/dns/a/tcp/1"), (TWO, "/dns/a/tcp/1"))
    refused, silent = book.addresses(ONE)
    stand = Stand({refused: "connection refused", silent: None, book.addresses(TWO)[0]: SIX})

    async def scenario() -> None:
        dialer = Dialer(stand, book, lambda: [ONE, TWO, SIX], rng())
        with trio.move_on_after(40):
            await dialer.run()
        assert dialer.failures() == {
            ONE: "/dns/a/tcp/1: connection refused; /dns/b/tcp/1: timed out",
            TWO: "/dns/a/tcp/1: answers with another identity",
        }  # SIX is linked by that

    trio.run(scenario, clock=trio.testing.MockClock(autojump_threshold=0))
