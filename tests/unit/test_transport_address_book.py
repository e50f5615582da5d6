from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer_crypto.errors import Reason
from gossamer_crypto.identity import Identity, PeerId, peer_id_text
from gossamer_transport.address_book import (
    ADDRESS_BYTES_MAX,
    PEERS_MAX,
    AddressBook,
    AddressError,
    Provenance,
    parse_address,
)

OWN, ONE, TWO = (Identity.from_seed(bytes([number]) * 32).peer_id for number in (1, 2, 3))
HEARSAY, OWN_WORD = Provenance.HEARSAY, Provenance.OWN_WORD


def p2p(peer: PeerId) -> str:
    return f"/p2p/{peer_id_text(peer)}"


def direct(port: int, peer: PeerId = ONE) -> str:
    return f"/ip4/192.0.2.1/tcp/{port}{p2p(peer)}"


def refused(text: str, reason: Reason = Reason.BAD_FRAME) -> None:
    with pytest.raises(AddressError) as caught:
        parse_address(text)
    assert caught.value.reason is reason


@pytest.mark.parametrize(
    "text",
    [
        "/ip4/192.0.2.1/tcp/4001",
        "/ip4/127.0.0.1/tcp/1",
        "/ip6/2001:db8::1/tcp/65535",
        "/dns/garden.example/tcp/4001",
        "/dns4/a/tcp/4001",
        "/dns6/xn--grnhaus-n2a.example/tcp/4001",
        direct(4001),
        f"/ip4/192.0.2.1/tcp/4001{p2p(ONE)}/p2p-circuit",
        f"/ip4/192.0.2.1/tcp/4001{p2p(ONE)}/p2p-circuit{p2p(TWO)}",
    ],
)
def test_an_address_is_its_own_text(text: str) -> None:
    assert str(parse_address(text)) == text


def test_two_spellings_are_one_address() -> None:
    assert str(parse_address("/ip6/2001:DB8:0:0::1/tcp/1")) == "/ip6/2001:db8::1/tcp/1"
    assert str(parse_address("/dns/Garden.Example/tcp/1")) == "/dns/garden.example/tcp/1"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "ip4/192.0.2.1/tcp/1",
        "/ip4/192.0.2.1/tcp/1/",
        "/ip4/192.0.2.1/tcp/0",
        "/ip4/192.0.2.1/tcp/01",
        "/ip4/192.0.2.1/tcp/65536",
        "/ip4/192.0.2.1/tcp/-1",
        "/ip4/192.0.2.1/tcp/\u0661",
        "/ip4/192.0.2.1/tcp/1 ",
        "/ip4/192.0.2.1/udp/1/quic-v1",
        "/ip4/192.0.2.1/tcp/1/ws",
        "/ip4/0.0.0.0/tcp/1",
        "/ip4/224.0.0.251/tcp/1",
        "/ip4/192.0.2.1.1/tcp/1",
        "/ip4/2001:db8::1/tcp/1",
        "/ip6/192.0.2.1/tcp/1",
        "/ip6/::/tcp/1",
        "/ip6/fe80::1%eth0/tcp/1",
        "/dns/-a/tcp/1",
        "/dns/a..b/tcp/1",
        "/dns/a\nb/tcp/1",
        "/dns/" + "a" * 64 + "/tcp/1",
        "/dnsaddr/a/tcp/1",
        "/unix/a/tcp/1",
        "/p2p-circuit" + p2p(ONE),
        "/ip4/192.0.2.1/tcp/1/p2p-circuit",
    ],
)
def test_what_is_no_address(text: str) -> None:
    refused(text)


def test_peers_in_an_address_are_checked() -> None:
    refused("/ip4/192.0.2.1/tcp/1/p2p/12D3KooW", Reason.BAD_KEY)
    refused(direct(1) + "/p2p-circuit" + p2p(ONE), Reason.BAD_KEY)  # through itself
    with pytest.raises(AddressError):
        parse_address(direct(1)).of(TWO)


def test_an_address_has_a_size() -> None:
    refused("/ip4/" + "1" * ADDRESS_BYTES_MAX, Reason.TOO_LARGE)
    name = ".".join(["a" * 60] * 4)[:239]
    address = parse_address(f"/dns/{name}/tcp/1")
    with pytest.raises(AddressError) as caught:
        address.of(ONE)
    assert caught.value.reason is Reason.TOO_LARGE


@given(st.text(max_size=ADDRESS_BYTES_MAX + 1) | st.from_regex(re.compile(r"/\w{2,4}/.+/tcp/.+")))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        address = parse_address(text)
    except AddressError:
        return
    assert parse_address(str(address)) == address
    assert len(str(address).encode()) <= ADDRESS_BYTES_MAX


@given(
    st.lists(
        st.sampled_from(["", "ip4", "dns", "192.0.2.1", "a", "tcp", "80", "p2p", "p2p-circuit"])
        | st.just(peer_id_text(ONE))
        | st.just(peer_id_text(TWO)),
        max_size=12,
    )
)
def test_any_order_of_parts_is_an_address_or_refused(parts: list[str]) -> None:
    text = "/".join(["", *parts])
    with contextlib.suppress(AddressError):
        assert str(parse_address(text)) == text


def test_own_word_comes_before_hearsay_and_new_before_old() -> None:
    book = AddressBook(OWN)
    for port, provenance in [(1, OWN_WORD), (2, HEARSAY), (3, OWN_WORD), (4, HEARSAY)]:
        assert book.learn(ONE, direct(port), provenance)
    assert book.addresses(ONE) == (direct(3), direct(1), direct(4), direct(2))
    assert not book.learn(ONE, direct(1), HEARSAY)  # confirmed: newest now, still its own word
    assert book.addresses(ONE) == (direct(1), direct(3), direct(4), direct(2))
    assert book.peers() == (ONE,)


def test_an_address_gets_its_peer() -> None:
    book = AddressBook(OWN)
    assert book.learn(ONE, "/ip4/192.0.2.1/tcp/1", OWN_WORD)
    assert not book.learn(ONE, direct(1), OWN_WORD)
    assert book.learn(ONE, direct(2, TWO) + "/p2p-circuit", OWN_WORD)
    assert book.addresses(ONE) == (direct(2, TWO) + "/p2p-circuit" + p2p(ONE), direct(1))
    with pytest.raises(AddressError):
        book.learn(ONE, direct(3, TWO), OWN_WORD)


def test_the_own_addresses_are_not_kept() -> None:
    book = AddressBook(OWN)
    assert not book.learn(OWN, direct(1, OWN), OWN_WORD)
    assert book.addresses(OWN) == ()


def test_neither_rumours_nor_own_words_push_out_the_other() -> None:
    book = AddressBook(OWN)
    for port in range(1, 20):
        book.learn(ONE, direct(port), OWN_WORD)
    assert book.addresses(ONE) == tuple(direct(port) for port in range(19, 11, -1))
    for port in range(101, 120):
        book.learn(ONE, direct(port), HEARSAY)
    own_word = [direct(port) for port in range(19, 13, -1)]
    assert book.addresses(ONE) == (*own_word, direct(119), direct(118))
    for port in range(201, 220):
        book.learn(ONE, direct(port), OWN_WORD)
    own_word = [direct(port) for port in range(219, 213, -1)]
    assert book.addresses(ONE) == (*own_word, direct(119), direct(118))


def test_a_list_is_taken_without_its_bad_ones_and_in_its_order() -> None:
    book = AddressBook(OWN)
    assert book.learn_all(ONE, [direct(1), "junk", direct(2), direct(3, TWO)], OWN_WORD) == 2
    assert book.addresses(ONE) == (direct(1), direct(2))
    assert book.learn_all(TWO, [direct(port, TWO) for port in range(1, 100)], HEARSAY) == 8
    assert book.addresses(TWO)[0] == direct(1, TWO)


def stranger(number: int) -> PeerId:
    return PeerId(number.to_bytes(32, "big"))


def test_rumours_of_many_peers_displace_rumours_only() -> None:
    book = AddressBook(OWN)
    for number in range(PEERS_MAX):
        provenance = OWN_WORD if number % 2 else HEARSAY
        assert book.learn(stranger(number), "/ip4/192.0.2.1/tcp/1", provenance)
    for number in range(PEERS_MAX, 2 * PEERS_MAX):
        assert book.learn(stranger(number), "/ip4/192.0.2.1/tcp/1", HEARSAY)
    kept = book.peers()
    assert len(kept) == PEERS_MAX
    assert all(book.addresses(stranger(number)) for number in range(1, PEERS_MAX, 2))
    for number in range(2 * PEERS_MAX, 3 * PEERS_MAX):
        book.learn(stranger(number), "/ip4/192.0.2.1/tcp/1", OWN_WORD)
    assert not book.learn(ONE, direct(1), HEARSAY)
    assert book.addresses(ONE) == ()
    assert len(book.peers()) == PEERS_MAX


def test_forgetting() -> None:
    book = AddressBook(OWN)
    book.learn(ONE, direct(1), OWN_WORD)
    book.forget(ONE)
    book.forget(ONE)
    assert book.snapshot() == {}


def test_a_book_survives_a_restart() -> None:
    book = AddressBook(OWN)
    for port in range(1, 12):
        book.learn(ONE, direct(port), HEARSAY if port % 3 else OWN_WORD)
        book.learn(TWO, direct(port, TWO), OWN_WORD)
    again = AddressBook(OWN)
    assert again.restore(book.snapshot().items()) == 0
    assert [again.addresses(peer) for peer in (ONE, TWO)] == [
        book.addresses(peer) for peer in (ONE, TWO)
    ]
    assert again.learn(ONE, direct(99), OWN_WORD)
    assert again.addresses(ONE)[0] == direct(99)


def test_damaged_rows_are_left_out() -> None:
    good = f"7 2 {direct(1)}".encode()
    rows = [
        (bytes(ONE), good + b"\n1 9 " + direct(2).encode()),
        (bytes(ONE)[:31], good),
        (bytes(TWO), good),
        (bytes(TWO), b"\xff 1 2"),
        (bytes(TWO), b""),
        (bytes(TWO), b"9" * 5000 + b" 1 " + direct(1, TWO).encode()),
    ]
    book = AddressBook(OWN)
    assert book.restore(rows) == 6
    assert book.snapshot() == {bytes(ONE): f"1 2 {direct(1)}".encode()}


@given(st.lists(st.tuples(st.binary(max_size=33), st.binary(max_size=300))))
def test_any_rows_are_restored_or_left_out(rows: list[tuple[bytes, bytes]]) -> None:
    AddressBook(OWN).restore(rows)
