"""Answers that say no: RFC 9457 problem details, one line of reason."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import msgspec
from starlette.responses import Response

MEDIA_TYPE: Final = "application/problem+json"
_DETAIL_CHARS_MAX: Final = 400


class ProblemError(Exception):
    """A request that cannot be answered; `status` 400..599."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """The response. Whatever a client sent is made printable: the line may end in a terminal."""
    line = "".join(c if c.isprintable() else "?" for c in detail)[:_DETAIL_CHARS_MAX]
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": line,
    }
    # A lone surrogate cannot be written as UTF-8.
    body["detail"] = line.encode("utf-8", "replace").decode()
    return Response(
        msgspec.json.encode(body), status, headers=dict(headers or {}), media_type=MEDIA_TYPE
    )
