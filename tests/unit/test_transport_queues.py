"""The bounded queues of the libp2p network: outbox, inbox, offers, doors, guests, dedupe."""

from __future__ import annotations

import hashlib

import pytest

from gossamer_crypto.errors import Reason
from gossamer_crypto.identity import PeerId
from gossamer_transport.libp2p.chunks import Offer, frame_offer
from gossamer_transport.libp2p.dedupe import Recent
from gossamer_transport.libp2p.doorkeeper import Doorkeeper
from gossamer_transport.libp2p.doors import Doors
from gossamer_transport.libp2p.guests import GuestBook
from gossamer_transport.libp2p.inbox import Inbox
from gossamer_transport.libp2p.offers import OfferShelf, PullQuota
from gossamer_transport.libp2p.outbox import Outbox
from gossamer_transport.limits import Limits
from gossamer_transport.network import Received

A, B, C = (PeerId(bytes([number]) * 32) for number in (1, 2, 3))


class TestOutbox:
    def test_takes_as_much_as_fits_and_at_least_one(self) -> None:
        outbox = Outbox()
        for item in (b"aaaa", b"bbb", b"cc" * 50):
            outbox.put(item)
        assert outbox.take(8) == b"aaaabbb"
        assert outbox.take(8) == b"cc" * 50
        assert outbox.take(8) == b""

    def test_drops_the_oldest(self) -> None:
        outbox = Outbox(items_max=3, bytes_max=10)
        for number in range(5):
            outbox.put(bytes([number]))
        assert (outbox.take(99), outbox.dropped) == (b"\2\3\4", 2)
        outbox.put(b"a" * 6)
        outbox.put(b"b" * 6)
        assert (outbox.take(99), outbox.dropped) == (b"b" * 6, 3)
        outbox.put(b"c" * 99)
        assert len(outbox) == 1
        outbox.clear()
        assert not outbox
        outbox.put(b"d" * 9)
        outbox.put(b"e")
        assert outbox.take(99) == b"d" * 9 + b"e"


class TestInbox:
    def test_drops_the_oldest_by_number_and_by_bytes(self) -> None:
        limits = Limits(frame_bytes_max=5, receive_frames_max=3, receive_bytes_max=10)
        inbox = Inbox(limits)
        for number in range(5):
            inbox.put(Received(A, bytes([number])))
        assert (len(inbox), inbox.dropped) == (3, 2)
        for _ in range(3):
            inbox.put(Received(B, b"12345"))
        assert [inbox.pop().peer for _ in range(len(inbox))] == [A, A, B]
        assert inbox.dropped == 5

    def test_who_fills_it_most_pays_for_it(self) -> None:
        inbox = Inbox(Limits(frame_bytes_max=100, receive_frames_max=50, receive_bytes_max=2000))
        for number in range(5):
            inbox.put(Received(A, bytes([number])))
        for frame in [bytes(100)] * 100 + [b""] * 500:
            inbox.put(Received(B, frame))
        received = [inbox.pop() for _ in range(len(inbox))]
        assert [item.frame for item in received if item.peer == A] == [bytes([n]) for n in range(5)]
        assert len(received) == 50
        inbox.put(Received(C, b"1"))
        assert (len(inbox), inbox.pop().peer) == (1, C)

    def test_forgets_a_peer(self) -> None:
        limits = Limits(frame_bytes_max=5, receive_bytes_max=10)
        inbox = Inbox(limits)
        for peer in (A, B):
            inbox.put(Received(peer, b"12345"))
        inbox.forget(A)
        inbox.put(Received(C, b"12345"))
        assert [inbox.pop().peer for _ in range(len(inbox))] == [B, C]


def put(shelf: OfferShelf, peer: PeerId, frame: bytes, now: float) -> Offer:
    offer = frame_offer(frame)
    shelf.put(peer, offer, frame, now)
    return offer


class TestOfferShelf:
    def test_only_who_was_offered_a_frame_may_have_it(self) -> None:
        shelf = OfferShelf(100)
        offer = put(shelf, A, b"frame", 0.0)
        assert offer == Offer(hashlib.sha256(b"frame").digest(), 5)
        assert shelf.get(A, offer.digest, 1.0) == b"frame"
        assert shelf.get(B, offer.digest, 1.0) is None
        assert shelf.get(A, bytes(32), 1.0) is None
        put(shelf, B, b"frame", 1.0)
        assert len(shelf) == 1
        assert shelf.get(A, offer.digest, 2.0) == shelf.get(B, offer.digest, 2.0) == b"frame"

    def test_time_and_size_are_bounded(self) -> None:
        shelf = OfferShelf(10, hold_s=60)
        first = put(shelf, A, b"1" * 6, 0.0)
        second = put(shelf, A, b"2" * 6, 1.0)
        assert shelf.get(A, first.digest, 1.0) is None
        assert shelf.get(A, second.digest, 60.9) == b"2" * 6
        assert shelf.get(A, second.digest, 61.1) is None
        large = put(shelf, A, b"3" * 99, 62.0)
        assert shelf.get(A, large.digest, 62.0) == b"3" * 99


class TestPullQuota:
    def test_one_peer_cannot_reserve_everything(self) -> None:
        quota = PullQuota(1000, per_peer_max=3)
        offers = [Offer(bytes([number]) * 32, 100) for number in range(9)]
        assert [quota.begin(A, offer) for offer in offers[:3]] == [True, True, False]
        assert quota.begin(A, offers[0]) is None
        assert quota.begin(B, offers[0]) is True
        quota.end(A, offers[0])
        assert quota.begin(A, offers[2]) is True

    def test_all_together_are_bounded(self) -> None:
        quota = PullQuota(1000)
        assert quota.begin(A, Offer(b"1" * 32, 600)) is True
        assert quota.begin(B, Offer(b"2" * 32, 600)) is False
        quota.end(A, Offer(b"1" * 32, 600))
        assert quota.begin(B, Offer(b"2" * 32, 600)) is True

    def test_the_number_per_peer_is_bounded(self) -> None:
        quota = PullQuota(10**9, per_peer_max=3)
        offers = [Offer(bytes([number]) * 32, 1) for number in range(4)]
        assert [quota.begin(A, offer) for offer in offers] == [True, True, True, False]


class TestDoors:
    def test_the_oldest_of_the_same_address_makes_room(self) -> None:
        doors = Doors(pending_max=10, per_address_max=2)
        assert doors.enter("x") == (1, None)
        assert doors.enter("y") == (2, None)
        assert doors.enter("x") == (3, None)
        assert doors.enter("x") == (4, 1)
        doors.leave(1)  # it has left already
        doors.leave(3)
        assert doors.enter("x") == (5, None)
        assert len(doors) == 3

    def test_the_oldest_of_all_makes_room(self) -> None:
        doors = Doors(pending_max=2, per_address_max=2)
        assert [doors.enter(str(address)) for address in range(3)] == [(1, None), (2, None), (3, 1)]


class TestGuestBook:
    def test_the_number_is_bounded_but_for_the_invited(self) -> None:
        book = GuestBook(1)
        assert book.arrive(A, 0.0)
        assert book.arrive(A, 0.0)
        assert not book.arrive(B, 0.0)
        assert book.arrive(C, 0.0, invited=True)
        assert set(book) == {A, C}
        book.leave(A)
        assert book.arrive(B, 0.0)

    def test_idle_is_who_asks_nothing(self) -> None:
        book = GuestBook(8, idle_s=30)
        book.arrive(A, 0.0)
        book.arrive(B, 0.0)
        book.touch(A, 20.0)
        book.touch(C, 20.0)
        assert book.idle(31.0) == [B]
        assert book.idle(50.0) == [A, B]

    def test_who_stayed_longest_makes_room_when_its_time_is_over(self) -> None:
        book = GuestBook(2, idle_s=30)
        book.arrive(C, 0.0, invited=True)
        book.arrive(A, 5.0)
        assert book.to_make_room(100.0) is None
        book.arrive(B, 6.0)
        assert book.to_make_room(34.0) is None
        assert book.to_make_room(37.0) == A


class TestRecent:
    def test_new_once(self) -> None:
        recent = Recent(hold_s=10, keys_max=100)
        assert [recent.is_new("a", now) for now in (0.0, 9.0, 10.0, 11.0)] == [
            True,
            False,
            True,
            False,
        ]

    @pytest.mark.parametrize("count", [5, 500])
    def test_bounded(self, count: int) -> None:
        recent = Recent(hold_s=1e9, keys_max=4)
        assert all(recent.is_new(number, 0.0) for number in range(count))
        assert len(recent) == 4
        assert not recent.is_new(count - 1, 0.0)


class TestDoorkeeper:
    def test_standing_is_asked_anew_each_time(self) -> None:
        members, linked = {A}, {A, B}
        door = Doorkeeper(members, 1, lambda: linked, lambda _: None)
        assert door.admit(A, False, 0.0) is None
        assert door.admit(B, False, 0.0) is None  # a guest
        assert door.admit(C, False, 0.0) is Reason.NOT_A_MEMBER
        assert door.look_around(lambda _: False, 5.0) == []
        members.symmetric_difference_update({A, B})  # B joins, A is evicted
        assert (A in door, B in door) == (False, True)
        assert door.look_around(lambda _: False, 10.0) == []
        assert list(door.guests) == [A]
        assert door.look_around(lambda _: True, 50.0) == []
        assert door.look_around(lambda _: False, 50.0) == [A]

    def test_whoever_stayed_long_makes_room(self) -> None:
        cut: list[PeerId] = []
        door = Doorkeeper((), 1, lambda: {A, B}, cut.append)
        assert door.admit(A, True, 0.0) is None  # we called it, so it takes no place
        assert door.admit(B, False, 0.0) is None
        assert door.admit(C, False, 29.0) is Reason.NOT_A_MEMBER
        assert door.admit(C, False, 31.0) is None
        assert cut == [B]

    def test_a_guest_who_left_takes_no_place(self) -> None:
        linked: set[PeerId] = set()
        door = Doorkeeper((), 1, lambda: linked, lambda _: None)
        assert door.admit(A, False, 0.0) is None
        assert door.admit(B, False, 1.0) is Reason.NOT_A_MEMBER  # the link of A is being made
        assert door.admit(B, False, 3.0) is None
        assert list(door.guests) == [B]

    def test_the_banned_stay_out_even_if_their_link_was_just_being_made(self) -> None:
        door = Doorkeeper({A}, 1, lambda: {A}, lambda _: None)
        assert door.admit(A, False, 0.0) is None
        door.ban(A)
        assert A not in door
        assert door.admit(A, True, 0.0) is Reason.BANNED
        assert door.look_around(lambda _: True, 0.0) == [A]

    def test_refusals_are_counted_and_some_cost_the_link(self) -> None:
        cut: list[PeerId] = []
        door = Doorkeeper((), 1, set, cut.append)
        door.refuse(A, Reason.FLOOD)
        door.refuse(None, Reason.FLOOD, True)
        door.refuse(B, Reason.BAD_FRAME, True)
        assert door.refused == {Reason.FLOOD: 2, Reason.BAD_FRAME: 1}
        assert cut == [B]
