"""What peers who are no members can do to a running agent: nothing that the honest pair notices."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import raw_sockets
import strangers
from honest_pair import HonestPair
from watching import Attack, attacking, rss_mb, watching

from gossamer_crypto.errors import Reason

pytestmark = [
    pytest.mark.slow,
    # Plain hosts leave sockets open when their peer hangs up on them.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


class Case(NamedTuple):
    """reasons: status shows them. cut: the attack costs the link, or the socket."""

    attack: Attack
    reasons: tuple[Reason, ...] = ()
    cut: bool = True


CASES = [
    Case(strangers.garbage_rpc, (Reason.BAD_FRAME,)),
    Case(strangers.rpc_of_a_terabyte, (Reason.TOO_LARGE,)),
    Case(strangers.forged_messages, (Reason.BAD_KEY, Reason.NOT_A_MEMBER), cut=False),
    Case(strangers.gossip_tables, (Reason.UNEXPECTED,), cut=False),
    Case(strangers.peer_exchange, (Reason.UNEXPECTED,), cut=False),
    Case(strangers.plaintext_dial),
    Case(strangers.secio_dial),
    Case(strangers.window_ignorer, (Reason.FLOOD,)),
    Case(strangers.eight_window_ignorers, (Reason.FLOOD,), cut=False),
    Case(strangers.identify_bombs, cut=False),
    Case(strangers.lying_requests, (Reason.TOO_LARGE,), cut=False),
    Case(strangers.request_bombs, (Reason.BAD_FRAME,), cut=False),
    Case(strangers.request_flood, (Reason.FLOOD,), cut=False),
    Case(strangers.ping_flood, cut=False),
    Case(strangers.slow_requests, (Reason.FLOOD,)),
    Case(raw_sockets.half_open_connections, (Reason.FLOOD,)),
    Case(raw_sockets.slow_handshakes, (Reason.FLOOD,)),
    Case(raw_sockets.megabytes_before_the_handshake),
]


@pytest.fixture(scope="module")
def warm_mb(pair: HonestPair) -> float:
    """Resident memory of the attacked agent before anything happened to it, for all cases."""
    pair.until_warm()
    return rss_mb(pair.steward.pid)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.attack.__name__)
def test_stranger(pair: HonestPair, warm_mb: float, case: Case) -> None:
    with watching(pair, warm_mb) as watch:

        async def main() -> None:
            async with attacking(case.attack, pair.target) as begun_at:
                await watch.until_refused(*case.reasons)
                if case.cut:
                    await watch.until_cut(begun_at)

        strangers.run(main)
