"""Tells the service manager how the agent does; feeds its watchdog as long as there is progress.

The task itself shows that the event loop turns; `Pulse` knows the rest. The manager is not fed once
something is stuck, and after its patience it ends the process and starts it again.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Final

import trio

from gossamer_agent.node.node import Node
from gossamer_agent.node.portrait import state_of
from gossamer_agent.pulse import Bounds
from gossamer_agent.service.notify import Notifier
from gossamer_transport.errors import NetworkError

MEALS: Final = 4
"""The watchdog is fed so often in its time: one late turn does no harm."""
STATUS_S: Final = 10.0

log = logging.getLogger("gossamer.service")


async def keep_informed(node: Node, notifier: Notifier) -> None:
    """Say that the agent is ready, then tell and feed until cancelled."""
    if not notifier.heard:
        return
    notifier.ready()
    watchdog_s = notifier.watchdog_s
    turn_s = STATUS_S if watchdog_s is None else min(watchdog_s / MEALS, STATUS_S)
    bounds = Bounds.of(watchdog_s or STATUS_S, node.means.round_interval_s)
    hung = False
    while True:
        stuck = node.life.pulse.stuck(trio.current_time(), bounds)
        if stuck is None:
            notifier.alive()
        elif not hung:
            log.error("stuck: %s; the watchdog is not fed any more", stuck)
        hung = stuck is not None
        with suppress(NetworkError):  # it is just being closed
            notifier.status(_summary(node) if stuck is None else f"stuck: {stuck}")
        await trio.sleep(turn_s)


def _summary(node: Node) -> str:
    life, linked = node.life, len(node.outside.network.peers())
    if life.runtime is None:
        return f"{state_of(node)}; {linked} linked"
    return (
        f"{state_of(node)}; round {life.runtime.core.round},"
        f" {len(life.followed())} followed, {linked} linked"
    )
