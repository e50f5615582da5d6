"""A command that goes to the network for a moment, to ask something."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from gossamer_agent.groups import first_of_ours

_T = TypeVar("_T")


def visit(work: Callable[[], Awaitable[_T]]) -> _T:
    """Run `work` to its end and return what it does.

    Raises our own errors and KeyboardInterrupt bare, not in the groups that trio makes of them.
    """
    import trio  # noqa: PLC0415  nobody else needs it

    # libp2p logs what we report ourselves; without a handler Python would print it.
    logging.getLogger().addHandler(logging.NullHandler())

    async def main() -> _T:
        return await work()

    try:
        with first_of_ours():
            return trio.run(main)
    except BaseExceptionGroup as group:
        if group.subgroup(KeyboardInterrupt) is not None:
            raise KeyboardInterrupt from None
        raise
