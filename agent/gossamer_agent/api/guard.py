"""Who may ask, and how much: in front of every route, before a byte of the body is read.

    403  a port was asked under another name than the loopback's, or by a web page
    401  the token is wrong, or a port was asked without one
    413  the body is, or says that it is, larger than the limit

A web page in a browser on this device can send requests to a loopback port. It cannot read the
token, it must name itself (Origin), and no answer carries a header that lets it read one (CORS); a
page that points its own name at 127.0.0.1 is told by the Host header. The Unix socket is the
device owner's by its mode, so there a token is looked at only if one is sent.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Iterable
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gossamer_agent.api.problems import ProblemError, problem
from gossamer_agent.api.stream import written_together

log = logging.getLogger("gossamer.api")

OPEN_PATHS: Final = ("/healthz",)
"""What may be asked without a token, also at a port."""


class Guard:
    """An ASGI application around another one.

    token: what a client must know. hosts: names that a request may use in Host, () for a Unix
    socket, where no token is needed either. body_bytes_max: of a request.
    """

    def __init__(
        self, app: ASGIApp, *, token: str, hosts: Iterable[str], body_bytes_max: int
    ) -> None:
        self._app = app
        self._token = token.encode()
        self._hosts = frozenset(host.lower().encode() for host in hosts)
        self._body_bytes_max = body_bytes_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI: requests go on, everything else (websockets) ends here."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            return
        started = False
        head: Message | None = None
        body = _Body(receive, scope, self._body_bytes_max)

        async def sending(message: Message) -> None:
            nonlocal started, head
            if message["type"] == "http.response.start":
                head = message  # goes out with the first part of the body
                if not body.is_read:  # what is left of it makes the connection useless for more
                    head = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
                return
            started = True
            if head is None:
                await send(message)
                return
            first, head = head, None
            async with written_together():
                await send(first)
                await send(message)

        try:
            self._check(scope)
            await self._app(scope, body.receive, sending)
        except ProblemError as error:
            await problem(error.status, error.detail, error.headers)(scope, receive, sending)
        except Exception:
            log.exception("the local API failed; please report this")
            if not started:
                await problem(500, "a fault of the agent; its log says more")(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        headers: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            if name in headers and name in (b"host", b"authorization", b"content-length"):
                raise ProblemError(400, f"two headers {name.decode('ascii', 'replace')}")
            headers[name] = value
        if self._hosts:
            if headers.get(b"host", b"").lower() not in self._hosts:
                raise ProblemError(403, "this port is asked as 127.0.0.1 or localhost only")
            if b"origin" in headers:
                raise ProblemError(403, "web pages may not ask")
        self._check_token(headers.get(b"authorization"), scope["path"])
        length = headers.get(b"content-length", b"0")
        if not (length.isdigit() and len(length) <= 19):
            raise ProblemError(400, "content-length is no number")
        if int(length) > self._body_bytes_max:
            raise _too_large(self._body_bytes_max)

    def _check_token(self, said: bytes | None, path: str) -> None:
        if said is None and (not self._hosts or path in OPEN_PATHS):
            return
        kind, _, token = (said or b"").partition(b" ")
        if kind.lower() != b"bearer" or not hmac.compare_digest(token.strip(), self._token):
            raise ProblemError(
                401,
                "send the token of the device's file api.token: Authorization: Bearer TOKEN",
                {"www-authenticate": "Bearer"},
            )


class _Body:
    """A request's body as the application reads it, up to a limit.

    A chunked one does not say how long it will be. is_read: whether its end was seen.
    """

    def __init__(self, receive: Receive, scope: Scope, bytes_max: int) -> None:
        self._receive = receive
        self._bytes_max = bytes_max
        self._received = 0
        told = dict(scope["headers"])
        self.is_read = (
            told.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in told
        )

    async def receive(self) -> Message:
        """ASGI. Raises ProblemError beyond the limit."""
        message = await self._receive()
        if message["type"] == "http.request":
            self._received += len(message.get("body", b""))
            if self._received > self._bytes_max:
                raise _too_large(self._bytes_max)
            self.is_read = not message.get("more_body", False)
        return message


def _too_large(bytes_max: int) -> ProblemError:
    return ProblemError(413, f"a body has at most {bytes_max} bytes")
