"""The OpenAPI document of the local API: the same for every model, so that programs can be written
against it. docs/openapi.json holds it; a test compares the two.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import msgspec

from gossamer_agent.api.backend import ModelStatus
from gossamer_agent.api.bodies import BATCH_MAX, JSON, MSGPACK, Inferred, Observed
from gossamer_agent.api.problems import MEDIA_TYPE
from gossamer_agent.node.status import AgentStatus
from gossamer_agent.receipt import Receipt

_SAMPLE: Final = {
    "description": "Numbers in the model's input shape (see /v1/model), or its float32 values as"
    " little-endian bytes: base64 in JSON, bin in MessagePack.",
    "anyOf": [{"type": "array", "items": {}}, {"type": "string", "format": "byte"}],
}
_LABEL: Final = {
    "description": "The number or the word of a class; for regression a list of numbers.",
    "anyOf": [
        {"type": "integer", "minimum": 0},
        {"type": "string"},
        {"type": "array", "items": {"type": "number"}},
    ],
}


@cache
def document() -> dict[str, Any]:
    """OpenAPI 3.1, as an object that JSON can hold."""
    structs = [Inferred, Observed, ModelStatus, AgentStatus, Receipt]
    _, components = msgspec.json.schema_components(
        structs, ref_template="#/components/schemas/{name}"
    )
    components["Inferred"]["properties"]["receipt"] = {"$ref": "#/components/schemas/Receipt"}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Gossamer local API",
            "version": "1",
            "description": "Infer with the model of this device's agent, and let it learn.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [
            {"url": "http://localhost", "description": "api.sock in the device's folder"},
            {
                "url": "http://127.0.0.1:{port}",
                "description": "if [api] listen names a port",
                "variables": {"port": {"default": "8780"}},
            },
        ],
        "security": [{"token": []}, {}],
        "paths": _paths(),
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                "Infer": _inputs(),
                "Observe": _inputs(y=_LABEL, ys=_many(_LABEL)),
                "Problem": _problem(),
                **components,
            },
        },
    }


def _paths() -> dict[str, Any]:
    receipt = {
        "name": "receipt",
        "in": "query",
        "description": "1: with a signed receipt. The header gossamer-receipt does the same.",
        "schema": {"type": "string", "enum": ["0", "1"]},
    }
    infer = _operation("infer", "Answer a sample or a batch.", "Inferred", "Infer")
    infer["parameters"] = [receipt]
    health = _operation("health", "Whether the agent works.", None)
    health["security"] = [{}]
    metrics = _operation("metrics", "Counters for Prometheus.", None)
    metrics["responses"]["200"] = {
        "description": "Prometheus text format 0.0.4.",
        "content": {"text/plain": {"schema": {"type": "string"}}},
    }
    return {
        "/v1/infer": {"post": infer},
        "/v1/observe": {
            "post": _operation("observe", "Learn from labelled samples.", "Observed", "Observe")
        },
        "/v1/model": {"get": _operation("model", "What answers.", "ModelStatus")},
        "/v1/status": {"get": _operation("status", "What the agent does.", "AgentStatus")},
        "/healthz": {"get": health},
        "/metrics": {"get": metrics},
        "/openapi.json": {"get": _operation("openapi", "This document.", None)},
    }


def _operation(name: str, summary: str, answer: str | None, body: str | None = None) -> Any:
    schema: dict[str, Any] = {"type": "object"} if answer is None else _ref(answer)
    found: dict[str, Any] = {
        "operationId": name,
        "summary": summary,
        "responses": {
            "200": {"description": "The answer.", "content": _content(schema)},
            "4XX": {"description": "What is wrong with the request.", "content": _refusal()},
            "503": {"description": "The agent cannot answer yet.", "content": _refusal()},
        },
    }
    if body is not None:
        found["requestBody"] = {"required": True, "content": _content(_ref(body))}
    return found


def _content(schema: dict[str, Any]) -> dict[str, Any]:
    return {JSON: {"schema": schema}, MSGPACK: {"schema": schema}}


def _refusal() -> dict[str, Any]:
    return {MEDIA_TYPE: {"schema": _ref("Problem")}}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _many(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": schema, "minItems": 1, "maxItems": BATCH_MAX}


def _inputs(**labels: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "description": "One sample, or a list of them.",
        "properties": {"x": _SAMPLE, "xs": _many(_SAMPLE), **labels},
        "additionalProperties": False,
    }


def _problem() -> dict[str, Any]:
    return {
        "type": "object",
        "description": "RFC 9457.",
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
        },
        "required": ["type", "title", "status", "detail"],
    }
