"""Every cause that doctor knows, from observations that show it."""

from __future__ import annotations

from typing import Any

import pytest

from gossamer_agent.node.doctor import (
    Cause,
    Observations,
    Severity,
    diagnose,
    is_ill,
    pack_observations,
    parse_observations,
)
from gossamer_agent.node.status import AgentStatus, PeerStatus

FAR = "/ip4/192.168.1.9/tcp/4001"
NEAR = "/ip4/127.0.0.1/tcp/4001"


def peer(**fields: Any) -> PeerStatus:
    return PeerStatus(**{"peer": "12D3KooWother", "addresses": [FAR]} | fields)


def seen(*peers: PeerStatus, **fields: Any) -> Observations:
    """Observations of a healthy agent, but for what is said otherwise."""
    of_status = {
        "version": "1",
        "name": "shed",
        "peer": "12D3KooWown",
        "steward": False,
        "swarm": "greenhouse",
        "swarm_id": "00",
        "state": "learning",
        "epoch": 3,
        "members": 1 + len(peers),
        "addresses": [FAR],
    }
    for name in list(fields):
        if name in AgentStatus.__struct_fields__:
            of_status[name] = fields.pop(name)
    status = AgentStatus(**of_status, peers=list(peers))  # type: ignore[arg-type]
    return Observations(status=status, **{"roster_epoch": 3} | fields)


LINKED = peer(linked=True)


@pytest.mark.parametrize("linked", [LINKED, peer(linked=True, addresses=[], failure="old")])
def test_a_healthy_agent_has_no_finding(linked: PeerStatus) -> None:
    assert diagnose(seen(linked)) == []


@pytest.mark.parametrize(
    ("observed", "cause", "severity"),
    [
        (seen(removed=True), Cause.REMOVED, Severity.PROBLEM),
        (seen(state="removed"), Cause.REMOVED, Severity.PROBLEM),
        (seen(members=0), Cause.NOT_ADMITTED, Severity.PROBLEM),
        (seen(), Cause.ALONE, Severity.ADVICE),
        (seen(LINKED, state="store failed: no space"), Cause.STORE, Severity.PROBLEM),
        (seen(LINKED, listen_failure="port in use"), Cause.LISTEN, Severity.PROBLEM),
        (seen(LINKED, roster_epoch=4), Cause.EPOCH, Severity.PROBLEM),
        (seen(LINKED, roster_forked=True), Cause.ROSTER, Severity.PROBLEM),
        (seen(LINKED, addresses=[]), Cause.ADVERTISED, Severity.PROBLEM),
        (seen(LINKED, addresses=[NEAR]), Cause.ADVERTISED, Severity.ADVICE),
        (seen(LINKED, running=False), Cause.NOT_RUNNING, Severity.ADVICE),
        (seen(LINKED, relay_failures={FAR: "timed out"}), Cause.RELAY, Severity.PROBLEM),
        (seen(peer(addresses=[])), Cause.NO_ADDRESS, Severity.PROBLEM),
        (seen(peer()), Cause.UNREACHABLE, Severity.ADVICE),
        (
            seen(peer(failure=f"{FAR}: connection refused")),
            Cause.PORT_CLOSED,
            Severity.PROBLEM,
        ),
        (seen(peer(failure=f"{FAR}: timed out")), Cause.UNREACHABLE, Severity.PROBLEM),
        (
            seen(peer(failure=f"{NEAR}: connection refused")),
            Cause.ADVERTISED,
            Severity.PROBLEM,
        ),
        (
            seen(peer(failure=f"{FAR}: answers with another identity")),
            Cause.IDENTITY,
            Severity.PROBLEM,
        ),
        (
            seen(peer(failure=f"{FAR}: no common protocol")),
            Cause.VERSION,
            Severity.PROBLEM,
        ),
        (
            seen(peer(linked=True, note="belongs to another swarm (other genesis)")),
            Cause.GENESIS,
            Severity.PROBLEM,
        ),
        (seen(peer(linked=True, note="clock differs by 3 h")), Cause.CLOCK, Severity.ADVICE),
        (
            seen(peer(linked=True, note="is in epoch 2, we are in 3")),
            Cause.EPOCH,
            Severity.ADVICE,
        ),
        (
            seen(peer(linked=True, note="runs protocol version 2, we 1")),
            Cause.VERSION,
            Severity.PROBLEM,
        ),
        (
            seen(peer(linked=True, note="does not know us as a member (not admitted there)")),
            Cause.NOT_ADMITTED,
            Severity.PROBLEM,
        ),
    ],
)
def test_each_cause(observed: Observations, cause: Cause, severity: Severity) -> None:
    (finding,) = diagnose(observed)
    assert (finding.cause, finding.severity) == (cause, severity)
    assert finding.text
    assert finding.remedy
    about_peer = any(not p.linked or p.note for p in observed.status.peers)
    assert (finding.peer is not None) == about_peer
    assert is_ill([finding]) == (severity is Severity.PROBLEM)


def test_a_port_is_closed_although_a_local_address_was_tried_as_well() -> None:
    failure = f"{NEAR}: connection refused; {FAR}: connection refused"
    (finding,) = diagnose(seen(peer(failure=failure)))
    assert finding.cause is Cause.PORT_CLOSED


def test_on_one_machine_local_addresses_are_as_good_as_others() -> None:
    failure = f"{NEAR}: connection refused"
    at_rest = seen(peer(failure=failure), addresses=[], running=False, listen=[NEAR])
    running = seen(peer(failure=failure), addresses=[NEAR])
    for observed in (at_rest, running):
        assert Cause.PORT_CLOSED in {finding.cause for finding in diagnose(observed)}


def test_problems_come_first() -> None:
    findings = diagnose(seen(peer(), peer(addresses=[]), addresses=[NEAR]))
    assert [finding.severity for finding in findings] == [
        Severity.PROBLEM,
        Severity.ADVICE,
        Severity.ADVICE,
    ]


def test_observations_survive_json() -> None:
    observed = seen(peer(note="clock differs by 3 h"), relay_failures={FAR: "timed out"})
    assert parse_observations(pack_observations(observed)) == observed
