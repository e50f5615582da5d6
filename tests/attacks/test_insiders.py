"""What a member that turned hostile can do to a running agent."""

from __future__ import annotations

from dataclasses import replace

import insiders
import pytest
import strangers
from honest_pair import HonestPair, Target
from test_strangers import Case
from watching import attacking, rss_mb, watching

from gossamer_crypto.errors import Reason

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

CASES = [
    Case(insiders.oversized_frame, (Reason.TOO_LARGE,)),
    Case(insiders.frame_on_the_wrong_way, (Reason.BAD_FRAME,)),
    Case(insiders.offer_of_nothing, (Reason.BAD_FRAME,)),
    Case(insiders.lying_offers, (Reason.BAD_FRAME, Reason.FLOOD), cut=False),
    Case(insiders.lying_pulls, (Reason.FLOOD,), cut=False),
    Case(insiders.frame_bombs, (Reason.BAD_FRAME,), cut=False),
    Case(insiders.frame_flood, (Reason.FLOOD,)),
    Case(insiders.slow_frame, (Reason.BAD_FRAME,)),
    Case(insiders.slow_reader, (Reason.BAD_FRAME,), cut=False),
    Case(insiders.gossip_bombs, (Reason.BAD_FRAME, Reason.TOO_LARGE), cut=False),
    Case(insiders.gossip_flood, (Reason.FLOOD,), cut=False),
    Case(insiders.hello_flood, (Reason.FLOOD,), cut=False),
    Case(insiders.inside_window_ignorer, (Reason.FLOOD,)),
]


@pytest.fixture(scope="module")
def target(pair: HonestPair) -> Target:
    return replace(pair.target, insider=pair.insider("mallory").identity)


@pytest.fixture(scope="module")
def warm_mb(pair: HonestPair, target: Target) -> float:
    pair.until_warm()
    return rss_mb(pair.steward.pid)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.attack.__name__)
def test_insider(pair: HonestPair, target: Target, warm_mb: float, case: Case) -> None:
    with watching(pair, warm_mb) as watch:

        async def main() -> None:
            async with attacking(case.attack, target) as begun_at:
                await watch.until_refused(*case.reasons)
                if case.cut:
                    await watch.until_cut(begun_at)

        strangers.run(main)
