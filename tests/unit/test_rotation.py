"""When epochs end, by uptime alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio
from trio.testing import MockClock

from gossamer_agent.node.rotation import CHECK_S, GRACE_S, STAND_IN_S, Rotation

HOUR_S = 3600.0


def run(scenario: Callable[[trio.Nursery], Awaitable[None]]) -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            await scenario(nursery)
            nursery.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_the_previous_epoch_is_retired_once_after_its_grace() -> None:
    retired: list[float] = []

    async def scenario(nursery: trio.Nursery) -> None:
        rotation = Rotation(
            retire=lambda: retired.append(trio.current_time()), rotate=None, rotate_hours=0
        )
        begun = trio.current_time()
        nursery.start_soon(rotation.run)
        await trio.sleep(GRACE_S / 2)
        rotation.epoch_moved()
        await trio.sleep(3 * GRACE_S)
        (at,) = retired
        assert 1.5 * GRACE_S <= at - begun <= 1.5 * GRACE_S + CHECK_S

    run(scenario)


def test_a_steward_rotates_after_each_period_and_later_ones_stand_in() -> None:
    rotated: dict[int, list[float]] = {0: [], 1: []}

    async def scenario(nursery: trio.Nursery) -> None:
        rotations: list[Rotation] = []

        def steward(turn: int) -> Rotation:
            async def rotate() -> None:
                rotated[turn].append(trio.current_time())
                for other in rotations:
                    other.epoch_moved()

            return Rotation(retire=lambda: None, rotate=rotate, turn=turn, rotate_hours=2.0)

        rotations += [steward(0), steward(1)]
        begun = trio.current_time()
        scope = trio.CancelScope()

        async def first() -> None:
            with scope:
                await rotations[0].run()

        nursery.start_soon(first)
        nursery.start_soon(rotations[1].run)
        await trio.sleep(5 * HOUR_S)
        assert len(rotated[0]) == 2
        assert not rotated[1]
        scope.cancel()  # the first one is gone
        await trio.sleep(5 * HOUR_S)
        assert len(rotated[1]) == 2
        assert rotated[1][0] - begun >= 6 * HOUR_S + STAND_IN_S

    run(scenario)


def test_zero_hours_is_never() -> None:
    async def scenario(nursery: trio.Nursery) -> None:
        async def rotate() -> None:
            raise AssertionError("never")

        nursery.start_soon(Rotation(retire=lambda: None, rotate=rotate, rotate_hours=0).run)
        await trio.sleep(50 * HOUR_S)

    run(scenario)
