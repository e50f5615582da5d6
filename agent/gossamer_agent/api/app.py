"""The routes of the local API, as an ASGI application over a `Backend`.

    POST /v1/infer     answer a sample or a batch
    POST /v1/observe   learn from labelled samples
    GET  /v1/model     what answers
    GET  /v1/status    what the agent does
    GET  /healthz      200 if it works, 503 if not
    GET  /metrics      for Prometheus
    GET  /openapi.json this, for programs

Who may call them is `guard`'s affair. What is wrong with a request is answered with 4xx and one
line of reason.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import msgspec
import trio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from gossamer_agent.api.backend import Backend, NotReadyError
from gossamer_agent.api.bodies import (
    JSON,
    MEDIA_TYPES,
    MSGPACK,
    Bodies,
    Inferred,
    Observed,
    answers_of,
    encoded,
)
from gossamer_agent.api.openapi import document
from gossamer_agent.api.problems import ProblemError, problem
from gossamer_agent.errors import DataError, ModelError, StoreError

METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
RETRY_AFTER_S: Final = "2"
INLINE_BYTES_MAX: Final = 1 << 15

_Said = TypeVar("_Said")


def make_app(backend: Backend) -> ASGIApp:
    """The application; it lets nobody in by itself (`guard.Guard`)."""
    routes = _Routes(backend)
    app = Starlette(
        routes=[
            Route("/v1/infer", routes.infer, methods=["POST"]),
            Route("/v1/observe", routes.observe, methods=["POST"]),
            Route("/v1/model", routes.model),
            Route("/v1/status", routes.status),
            Route("/healthz", routes.health),
            Route("/metrics", routes.metrics),
            Route("/openapi.json", routes.openapi),
        ],
        exception_handlers={
            HTTPException: _not_found,
            ProblemError: _refused,
            Exception: _failed,
        },
    )
    app.router.redirect_slashes = False
    return app


class _Routes:
    """The endpoints."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._bodies = Bodies(backend.schema)
        # Numbers of a body take ten times its bytes as Python objects: one body at a time.
        self._reading = trio.CapacityLimiter(1)

    async def infer(self, request: Request) -> Response:
        """A sample or a batch."""
        media_type = _media_type(request)
        x, single = await self._read(self._bodies.infer, media_type, await _body(request))
        answered = await _made(self._backend.infer(x, _wants_receipt(request)))
        answers = answers_of(self._backend.schema, answered.scores)
        message = Inferred(
            answer=answers[0] if single else None,
            answers=None if single else answers,
            round=answered.round,
            replica=answered.replica,
            receipt=answered.receipt,
        )
        return _response(request, message, media_type)

    async def observe(self, request: Request) -> Response:
        """Labelled samples."""
        media_type = _media_type(request)
        x, y = await self._read(self._bodies.observe, media_type, await _body(request))
        added = await _made(self._backend.observe(x, y))
        message = Observed(taken=added.taken, duplicates=added.duplicates, removed=added.removed)
        return _response(request, message, media_type)

    async def model(self, request: Request) -> Response:
        """What answers."""
        return _response(request, await self._backend.model())

    async def status(self, request: Request) -> Response:
        """What the agent does."""
        return _response(request, await self._backend.status())

    async def health(self, request: Request) -> Response:
        """For whoever watches the agent."""
        well, state = self._backend.health()
        if not well:
            return problem(503, state, {"retry-after": RETRY_AFTER_S})
        return _response(request, {"state": state})

    async def metrics(self, _: Request) -> Response:
        """Prometheus text."""
        text = await self._backend.metrics()
        if text is None:
            raise ProblemError(404, "this agent counts nothing for Prometheus")
        return Response(text, media_type=METRICS_TYPE)

    async def openapi(self, _: Request) -> Response:
        """The description of all this."""
        return Response(msgspec.json.encode(document()), media_type=JSON)

    async def _read(
        self, read: Callable[[str, bytes], _Said], media_type: str, raw: bytes
    ) -> _Said:
        """What a body says. The agent's other work does not wait while a large one is read."""
        if len(raw) <= INLINE_BYTES_MAX:
            return read(media_type, raw)
        return await trio.to_thread.run_sync(read, media_type, raw, limiter=self._reading)


async def _made(answer: Awaitable[Any]) -> Any:
    """What the agent answers, its refusals as problems."""
    try:
        return await answer
    except DataError as error:
        raise ProblemError(422, str(error)) from None
    except NotReadyError as error:
        raise ProblemError(503, str(error), {"retry-after": RETRY_AFTER_S}) from None
    except (ModelError, StoreError) as error:
        raise ProblemError(503, str(error)) from None


async def _body(request: Request) -> bytes:
    try:
        return await request.body()
    except ClientDisconnect:
        raise ProblemError(400, "the body ended early") from None


def _media_type(request: Request) -> str:
    said = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if said not in MEDIA_TYPES:
        raise ProblemError(415, f"content-type must be {JSON} or {MSGPACK}, not {said!r:.60}")
    return JSON if said == JSON else MSGPACK


def _response(request: Request, message: Any, media_type: str = JSON) -> Response:
    """In the form of `Accept` if it names one, else of the request, else JSON."""
    accepted = request.headers.get("accept", "").lower()
    if any(kind in accepted for kind in MEDIA_TYPES[1:]):
        media_type = MSGPACK
    elif JSON in accepted:
        media_type = JSON
    return Response(encoded(media_type, message), media_type=media_type)


def _wants_receipt(request: Request) -> bool:
    """`?receipt=1`, or the header `gossamer-receipt: 1`."""
    said = request.query_params.get("receipt", request.headers.get("gossamer-receipt", "0"))
    if said not in ("0", "1"):
        raise ProblemError(400, "receipt must be 0 or 1")
    return said == "1"


async def _not_found(request: Request, error: Exception) -> Response:
    """Starlette's own: unknown routes and methods."""
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return problem(404, f"there is no {request.url.path}; /openapi.json lists what there is")
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "another method")
        return problem(405, f"{request.url.path} takes {allowed}", error.headers)
    return problem(error.status_code, error.detail, error.headers)


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)
    # A body that was not read to its end makes the connection useless for more.
    closing = {"connection": "close"} if error.status == 413 else {}
    return problem(error.status, error.detail, {**(error.headers or {}), **closing})


async def _failed(_: Request, __: Exception) -> Response:
    """A bug; the guard logs it."""
    return problem(500, "a fault of the agent; its log says more")
