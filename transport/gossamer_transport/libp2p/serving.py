"""Streams that peers open to us: so many of one peer at once, and none that fails hurts another."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

from libp2p.abc import INetStream

from gossamer_crypto.errors import Reason
from gossamer_crypto.identity import PeerId
from gossamer_transport.libp2p import streams
from gossamer_transport.libp2p.streams import StreamBrokenError

log = logging.getLogger("gossamer.transport")

Serve = Callable[[PeerId, INetStream], Coroutine[Any, Any, None]]


class Serving:
    """Serves streams by `serve`. refuse: told of every stream that is one too many."""

    def __init__(
        self, serve: Serve, at_once_max: int, refuse: Callable[[PeerId, Reason], None]
    ) -> None:
        self._serve = serve
        self._at_once_max = at_once_max
        self._refuse = refuse
        self._running: Counter[PeerId] = Counter()

    def is_full(self, peer: PeerId) -> bool:
        """Whether the next stream of `peer` is one too many."""
        return self._running[peer] >= self._at_once_max

    async def one(self, peer: PeerId, stream: INetStream) -> None:
        """Serve one stream; whatever goes wrong, it is reset and nothing is raised but our own
        faults.
        """
        if self.is_full(peer):
            await self.turn_away(peer, stream)
            return
        self._running[peer] += 1
        try:
            await self._serve(peer, stream)
        except StreamBrokenError as error:
            log.debug("a stream broke off: %s", error)
            await streams.reset(stream)
        except BaseException:
            await streams.reset(stream)
            raise
        finally:
            self._running[peer] -= 1
            if not self._running[peer]:
                del self._running[peer]

    async def turn_away(self, peer: PeerId, stream: INetStream) -> None:
        """Reset a stream that is one too many."""
        self._refuse(peer, Reason.FLOOD)
        await streams.reset(stream)
