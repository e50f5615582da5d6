"""One look at the swarm without an agent: dial every known member, have a HELLO, hang up.

Nothing is published and nothing is written: the device's feed and state stay as they are.
"""

from __future__ import annotations

import time
from contextlib import closing, suppress

import trio

from gossamer_agent.cli.asking import status_at_rest
from gossamer_agent.device.folder import Device
from gossamer_agent.groups import first_of_ours
from gossamer_agent.members.heads import HeadTable
from gossamer_agent.members.membership import Membership
from gossamer_agent.members.stewardship import load_roster
from gossamer_agent.node.control import HELLO, HELLO_TIMEOUT_S
from gossamer_agent.node.doctor import Observations
from gossamer_agent.node.outside import SwarmNetwork
from gossamer_agent.node.over_libp2p import open_probe
from gossamer_agent.node.status import PeerStatus
from gossamer_agent.version import program_version
from gossamer_crypto.epoch_ring import EpochRing
from gossamer_crypto.errors import EpochError
from gossamer_crypto.identity import parse_peer_id
from gossamer_crypto.roster import Roster
from gossamer_transport.errors import NetworkError
from gossamer_transport.hello import HELLO_RESPONSE_BYTES_MAX

_AT_ONCE = 8
_DIAL_S_MAX = 20.0


def probe(device: Device) -> Observations:
    """Dial and greet. Takes up to half a minute; raises AgentError for a folder that is wrong."""
    with closing(device.open_state()) as state:
        roster = load_roster(state, device.genesis)
    seen = Observations(
        status=status_at_rest(device),
        listen=list(device.config.network.listen),
        advertise=list(device.config.network.advertise),
        roster_epoch=roster.epoch,
        removed=device.peer_id not in roster and roster.was_removed(device.peer_id),
    )
    ring = EpochRing(device.peer_id, device.keys.prekeys)
    with suppress(EpochError):  # the finding is that we have no key
        ring.follow(roster)
    seen.status.epoch = ring.current
    if not seen.removed and seen.status.peers:
        membership = Membership(
            device.peer_id, device.genesis, roster, ring, HeadTable(), program_version()
        )
        try:
            with first_of_ours():
                trio.run(_probe, device, roster, membership, seen)
        except NetworkError as error:
            seen.listen_failure = str(error)
        seen.roster_epoch = max(seen.roster_epoch, roster.epoch)
        seen.status.epoch = ring.current
    return seen


async def _probe(
    device: Device, roster: Roster, membership: Membership, seen: Observations
) -> None:
    at_once = trio.CapacityLimiter(_AT_ONCE)
    async with open_probe(device, roster) as network, trio.open_nursery() as nursery:

        async def visit(peer: PeerStatus) -> None:
            async with at_once:
                await _visit(network, membership, peer)

        for peer in seen.status.peers:
            nursery.start_soon(visit, peer)


async def _visit(network: SwarmNetwork, membership: Membership, status: PeerStatus) -> None:
    peer = parse_peer_id(status.peer)
    failures: dict[str, None] = {}  # in order, each text once
    for address in status.addresses:
        failure = "timed out"
        with trio.move_on_after(_DIAL_S_MAX):
            try:
                await network.dial(address)
                failure = ""
            except NetworkError as error:
                failure = str(error)
        if not failure:
            status.linked, status.address = True, address
            break
        failures[f"{address.rpartition('/p2p/')[0]}: {failure}"] = None
    if not status.linked:
        status.failure = "; ".join(failures) or None
        return
    try:
        answer = await network.request(
            peer,
            HELLO,
            membership.hello(int(time.time())),
            response_bytes_max=HELLO_RESPONSE_BYTES_MAX,
            timeout_s=HELLO_TIMEOUT_S,
        )
    except NetworkError as error:
        status.note = f"is linked but does not answer: {error}"
        return
    membership.learn(peer, answer)
    status.note = "; ".join(membership.notes(peer)) or None
