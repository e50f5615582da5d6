"""An agent in the foreground: signals end it, what happens is logged, a service manager is told."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from contextlib import suppress

import click
import trio

from gossamer_agent.cli.failures import exit_code_of, one_line
from gossamer_agent.device.folder import Device
from gossamer_agent.eventlog.changes import Look, happened
from gossamer_agent.eventlog.looking import look
from gossamer_agent.eventlog.setup import EventLog, Level, set_up_log
from gossamer_agent.exit_codes import ExitCode
from gossamer_agent.groups import first_of_ours
from gossamer_agent.node.node import Node, run_node
from gossamer_agent.node.over_libp2p import open_libp2p
from gossamer_agent.service.notify import Notifier
from gossamer_agent.service.watch import keep_informed
from gossamer_agent.version import program_version
from gossamer_crypto.errors import GossamerError, PeerError
from gossamer_crypto.identity import peer_id_text
from gossamer_transport.errors import NetworkError

_LOOK_S = 0.5


def run_in_foreground(
    device: Device, rounds: int | None, *, as_json: bool, level: Level | None
) -> None:
    """Run the agent until a signal. Raises KeyboardInterrupt for Ctrl-C, and what ended it.

    level: None for rounds at a terminal, and no more than a notice now and then elsewhere.
    """
    if level is None:
        level = Level.INFO if sys.stderr.isatty() else Level.NOTICE
    log = set_up_log(sys.stderr, as_json=as_json, level=level)
    notifier = Notifier.from_environment(os.environ)
    if notifier.watchdog_s is not None:
        faulthandler.enable()  # the watchdog's SIGABRT shows where each thread hung
    try:
        ended_by = trio.run(_run, device, rounds, log, notifier)
    except (GossamerError, PeerError, OSError) as error:
        if not as_json:
            raise
        code = exit_code_of(error)
        log.tell(Level.ERROR, "failed", one_line(error), exit_code=int(code))
        raise click.exceptions.Exit(code) from error
    if ended_by == signal.SIGINT:
        raise KeyboardInterrupt


async def _run(device: Device, rounds: int | None, log: EventLog, notifier: Notifier) -> int:
    """The signal that ended it, 0 if none did."""
    ended_by = 0
    nodes: list[Node] = []
    with (
        first_of_ours(),
        trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals,
    ):
        async with trio.open_nursery() as nursery:

            async def wait_for_signals() -> None:
                nonlocal ended_by
                async for number in signals:
                    if ended_by:  # twice: at once. The stores survive that.
                        os._exit(ExitCode.INTERRUPTED)
                    ended_by = number
                    log.tell(Level.NOTICE, "ending", "ending", signal=signal.Signals(number).name)
                    notifier.stopping()
                    nursery.start_soon(end)

            async def end() -> None:
                """Others vouch for the newest entries first, as long as somebody can be asked."""
                with suppress(NetworkError):
                    for node in nodes:
                        await node.farewell()
                agent.cancel()

            def on_ready(node: Node) -> None:
                nodes.append(node)
                nursery.start_soon(_tell, node, log)
                nursery.start_soon(keep_informed, node, notifier)

            nursery.start_soon(wait_for_signals)
            with trio.CancelScope() as agent:
                await run_node(device, open_outside=open_libp2p, rounds=rounds, on_ready=on_ready)
            if nodes:
                head = nodes[0].life.head()
                entry = None if head is None else head.header.seq
                log.tell(Level.NOTICE, "stopped", "stopped", entry=entry)
            nursery.cancel_scope.cancel()
    return ended_by


async def _tell(node: Node, log: EventLog) -> None:
    """Log what happens to the agent, looking at it now and then, until cancelled."""
    device = node.device
    peer = peer_id_text(device.peer_id)
    log.tell(
        Level.NOTICE,
        "started",
        f"{device.config.device.name} is {peer}",
        peer=peer,
        swarm=device.genesis.name,
        version=program_version(),
        pid=os.getpid(),
    )
    for address in node.outside.addresses():
        log.tell(Level.NOTICE, "listening", f"listening at {address}", address=address)
    before = Look()
    while True:
        with suppress(NetworkError):  # it is just being closed
            now = look(node, before)
            for event in happened(before, now):
                log.tell(event.level, event.name, event.sentence, **event.fields)
            before = now
        await trio.sleep(_LOOK_S)
