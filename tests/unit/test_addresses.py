"""Addresses of settings and invites."""

from __future__ import annotations

import socket

import pytest

from gossamer_agent.device.addresses import (
    check_dialable,
    check_listen,
    check_relay,
    dialable_for,
    free_port,
    is_loopback,
    of_peer,
    own_hosts,
    without_loopback,
    without_peer,
)
from gossamer_crypto.identity import Identity, peer_id_text

ME, OTHER = (Identity.from_seed(bytes([seed]) * 32).peer_id for seed in (1, 2))
AT = "/ip4/192.0.2.1/tcp/4001"
RELAYED = f"{AT}/p2p/{peer_id_text(OTHER)}/p2p-circuit"
HOSTS = ["192.0.2.2", "127.0.0.1", "2001:db8::1", "::1"]


@pytest.mark.parametrize(
    "text", ["/ip4/0.0.0.0/tcp/0", "/ip4/127.0.0.1/tcp/65535", "/ip6/::/tcp/1"]
)
def test_what_can_be_listened_at(text: str) -> None:
    check_listen(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "4001",
        "/ip4/::/tcp/1",
        "/ip6/0.0.0.0/tcp/1",
        "/ip4/1.2.3/tcp/1",
        "/ip4/0.0.0.0/udp/1",
        "/ip4/0.0.0.0/tcp/65536",
        "/dns4/a.example/tcp/1",
        f"{AT}/p2p/{peer_id_text(ME)}",
        "/ip4/0.0.0.0/tcp/1\n",
        "/ip4/0.0.0.0/tcp/\u0661",
    ],
)
def test_what_cannot(text: str) -> None:
    with pytest.raises(ValueError, match="cannot be listened at; use one like"):
        check_listen(text)


@pytest.mark.parametrize("text", ["", "x" * 999, "/ip4/0.0.0.0/tcp/1", "/ip4/192.0.2.1/tcp/0"])
def test_what_cannot_be_dialled(text: str) -> None:
    with pytest.raises(ValueError, match="cannot be dialled"):
        check_dialable(text)


def test_a_relay_is_named_with_its_id() -> None:
    check_relay(f"{AT}/p2p/{peer_id_text(OTHER)}")
    for text in (AT, RELAYED, f"{RELAYED}/p2p/{peer_id_text(ME)}"):
        with pytest.raises(ValueError, match="names no relay"):
            check_relay(text)


@pytest.mark.parametrize("address", [AT, RELAYED, "/dns4/garden.example/tcp/1"])
def test_the_peer_id_comes_and_goes(address: str) -> None:
    whole = of_peer(address, ME)
    assert whole == f"{address}/p2p/{peer_id_text(ME)}"
    assert of_peer(whole, ME) == whole
    assert of_peer(whole, OTHER) is None
    assert without_peer(whole) == without_peer(address) == address


def test_a_wildcard_stands_for_every_host_but_the_loopback() -> None:
    assert dialable_for(["/ip4/0.0.0.0/tcp/7"], HOSTS) == ("/ip4/192.0.2.2/tcp/7",)
    assert dialable_for(["/ip6/::/tcp/7"], HOSTS) == ("/ip6/2001:db8::1/tcp/7",)
    assert dialable_for(["/ip4/0.0.0.0/tcp/7"], ["127.0.0.1"]) == ("/ip4/127.0.0.1/tcp/7",)


def test_a_port_that_is_chosen_later_is_no_address() -> None:
    assert dialable_for(["/ip4/0.0.0.0/tcp/0", "/ip4/192.0.2.9/tcp/5"], HOSTS) == (
        "/ip4/192.0.2.9/tcp/5",
    )
    assert dialable_for(["/ip4/0.0.0.0/tcp/0"], HOSTS) == ()


def test_loopback_is_left_out_where_there_is_better() -> None:
    loop = "/ip4/127.0.0.1/tcp/1"
    assert is_loopback(loop)
    assert without_loopback([loop, AT, AT]) == (AT,)
    assert without_loopback([loop]) == (loop,)
    assert without_loopback([]) == ()


def test_own_hosts_are_dialable() -> None:
    for host in own_hosts():
        check_dialable(f"/ip{6 if ':' in host else 4}/{host}/tcp/1")


def test_a_free_port_can_be_bound() -> None:
    port = free_port()
    assert 20_000 <= port < 32_000
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", port))
