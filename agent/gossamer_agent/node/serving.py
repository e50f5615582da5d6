"""The tasks of a node that face its owner's programs: the local API and the watched folder."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from gossamer_agent.api.listening import listen, make_token
from gossamer_agent.api.server import serve
from gossamer_agent.api.serving import NodeBackend
from gossamer_agent.data.gathering import layout_of, take_file
from gossamer_agent.data.watched import WatchedFolder
from gossamer_agent.errors import AgentError, StoreError

if TYPE_CHECKING:
    from gossamer_agent.node.node import Node

log = logging.getLogger("gossamer.api")

LOOK_S: Final = 2.0


class Serving:
    """Both of them. `run` until cancelled; trouble: why one of them does not work.

    backend: answers the API, and programs that hold the node.
    """

    def __init__(self, node: Node) -> None:
        self.backend = NodeBackend(node)
        self.troubles: dict[str, str] = {}
        self._node = node

    async def run(self) -> None:
        """Serve and look. What the owner's programs cannot have must not stop the agent."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._serve)
            nursery.start_soon(self._watch)

    async def _serve(self) -> None:
        device = self._node.device
        settings = device.config.api
        try:
            listening = listen(device.path, settings.listen)
            if listening is None:
                return
            try:
                token = await trio.to_thread.run_sync(make_token, device.path / settings.token_file)
            except BaseException:
                listening.close()
                raise
        except AgentError as error:
            self.troubles["api"] = f"no local API: {error}"
            return
        try:
            await serve(
                listening,
                self.backend,
                token=token,
                body_bytes_max=int(settings.body_mb_max * (1 << 20)),
            )
        except* OSError:
            log.exception("the local API ended")
            self.troubles["api"] = "the local API ended; the log says why"

    async def _watch(self) -> None:
        node = self._node
        settings, intake = node.device.config.data, node.means.intake
        if settings.watch is None:
            return
        layout = layout_of(settings, intake.schema.contract)
        take = partial(take_file, layout=layout, intake=intake)
        watched = WatchedFolder(node.device.path / settings.watch, take)
        while True:
            try:
                await trio.to_thread.run_sync(watched.look)
                self.troubles.pop("watch", None)
            except (OSError, StoreError) as error:
                self.troubles["watch"] = f"watched folder {watched.folder}: {error}"
            await trio.sleep(LOOK_S)
