"""Keeps one host running: when it fails, the next one is built with the same identity and port."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final

import trio
from libp2p.abc import IHost

from gossamer_crypto.identity import Identity
from gossamer_transport.libp2p.gossip import Gossip, GossipLeash, gossiping
from gossamer_transport.libp2p.host import LiveHost, OnHost, build_host, running
from gossamer_transport.libp2p.options import Libp2pOptions
from gossamer_transport.libp2p.switch import Admit, Refuse

RESTART_S: Final = 0.5
RESTART_S_MAX: Final = 30.0
STABLE_S: Final = 60.0
"""A host that ran for so long is restarted at once when it fails."""

log = logging.getLogger("gossamer.transport")


class Supervisor:
    """Runs hosts, one after the other. live, gossip: of the present one, None between two of them.

    attach: called with every host before it listens. services: entered with every host, as
    `open_network` says. restarts: how many hosts ended.
    """

    def __init__(
        self,
        identity: Identity,
        options: Libp2pOptions,
        leash: GossipLeash,
        services: Sequence[OnHost],
        *,
        admit: Admit,
        refuse: Refuse,
        attach: Callable[[IHost], None],
    ) -> None:
        self._identity = identity
        self._options = options
        self._leash = leash
        self._services = services
        self._admit = admit
        self._refuse = refuse
        self._attach = attach
        self._listen = options.listen
        self.live: LiveHost | None = None
        self.gossip: Gossip | None = None
        self.restarts = 0

    async def run(self, on_start: Callable[[], None]) -> None:
        """Run until cancelled; call `on_start` when the first host listens.

        Raises:
            NetworkError: the first host cannot be started.
        """
        started = False
        restart_s = RESTART_S

        def running_now() -> None:
            nonlocal started
            if not started:
                started = True
                on_start()

        while True:
            begun_at = trio.current_time()
            try:
                await self._run_host(running_now)
            except Exception as error:
                if not started:
                    raise
                log.warning("the libp2p host failed and is restarted: %r", error)
            self.restarts += 1
            if trio.current_time() - begun_at > STABLE_S:
                restart_s = RESTART_S
            await trio.sleep(restart_s)
            restart_s = min(2 * restart_s, RESTART_S_MAX)

    async def _run_host(self, on_start: Callable[[], None]) -> None:
        host = build_host(self._identity, self._options, self._admit, self._refuse)
        self._attach(host)
        heartbeat_s = self._options.gossip_heartbeat_s
        async with (
            running(host, self._listen) as live,
            gossiping(host, self._leash, heartbeat_s) as gossip,
            live.services(self._services),
        ):
            self._listen = tuple(map(str, host.get_transport_addrs()))
            self.live, self.gossip = live, gossip
            try:
                on_start()
                await trio.sleep_forever()
            finally:
                # First of all: nobody may use what is ending, and no end may wait for a peer.
                self.live = self.gossip = None
                await live.hang_up()
