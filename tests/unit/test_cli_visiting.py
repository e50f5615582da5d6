"""A visit to the network raises what went wrong bare."""

from __future__ import annotations

import pytest
import trio

from gossamer_agent.cli.visiting import visit
from gossamer_transport.errors import NetworkError


@pytest.mark.parametrize("error", [NetworkError("closed"), KeyboardInterrupt()])
def test_groups_are_taken_apart(error: BaseException) -> None:
    async def fail() -> None:
        raise error

    async def work() -> None:
        async with trio.open_nursery() as outer, trio.open_nursery() as inner:
            inner.start_soon(fail)
            outer.start_soon(trio.sleep_forever)

    with pytest.raises(type(error)):
        visit(work)


def test_a_bug_is_shown_whole() -> None:
    async def work() -> None:
        async with trio.open_nursery():
            raise ZeroDivisionError

    with pytest.raises(BaseExceptionGroup):
        visit(work)


def test_hands_back_what_was_done() -> None:
    async def work() -> int:
        await trio.lowlevel.checkpoint()
        return 7

    assert visit(work) == 7
