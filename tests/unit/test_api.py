"""The local API through ASGI: no socket, no agent, a backend with the real model contract."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gossamer_agent.api import app as app_module
from gossamer_agent.api.app import make_app
from gossamer_agent.api.backend import Answered, ModelStatus, NotReadyError
from gossamer_agent.api.bodies import Bodies
from gossamer_agent.api.guard import Guard
from gossamer_agent.api.openapi import document
from gossamer_agent.contract import Contract
from gossamer_agent.data.reservoir import Added
from gossamer_agent.data.schema import Schema, learn_schema
from gossamer_agent.errors import StoreError
from gossamer_agent.learner import Samples
from gossamer_agent.receipt import Version, sign_receipt
from gossamer_crypto.identity import Identity

TOKEN = "a-token-of-this-test-alone"
BODY_MAX = 4096
ROOT = Path(__file__).parents[2]


@dataclass
class FakeAgent:
    """A backend whose model says how far a sample is in each of two directions."""

    shape: tuple[int, ...] = (3,)
    task: str = "classification"
    observed: list[tuple[Any, Any]] = field(default_factory=list)
    failure: Exception | None = None

    @property
    def schema(self) -> Schema:
        contract = Contract(self.task, 2, self.shape, 10)
        known = Samples(np.random.default_rng(0).random((20, *self.shape)), np.arange(20) % 2)
        return learn_schema(known, contract, names=("a", "b", "c"), words=("dry", "wet"))

    async def infer(self, x: Any, receipt: bool) -> Answered:
        if self.failure is not None:
            raise self.failure
        flat = x.reshape(len(x), -1)
        scores = np.stack([flat[:, 0], 1 - flat[:, 0]], axis=1)
        signed = None
        if receipt:
            version = Version(bytes(32), bytes(32), bytes(32), False, 3, None)
            signed = sign_receipt(Identity.from_seed(bytes(32)), version, x, scores, 5)
        return Answered(scores, 3, "ab" * 32, signed)

    async def observe(self, x: Any, y: Any) -> Added:
        if self.failure is not None:
            raise self.failure
        self.observed.append((x, y))
        return Added(len(x), 0, 0)

    async def model(self) -> ModelStatus:
        return ModelStatus(
            swarm="s",
            model="m",
            sha256="",
            task=self.task,
            input_shape=list(self.shape),
            outputs=2,
            parameters=10,
            labels=[],
            inputs=[],
            ready=True,
            round=3,
            replica=None,
            answers=0,
        )

    async def status(self) -> ModelStatus:
        return await self.model()

    async def metrics(self) -> bytes | None:
        return b"gossamer_up 1\n"

    def health(self) -> tuple[bool, str]:
        return self.failure is None, "learning"


Ask = Callable[..., httpx.Response]


def asking(agent: FakeAgent, hosts: tuple[str, ...] = ()) -> Ask:
    """Makes requests of the whole stack but for the HTTP server."""
    app = Guard(make_app(agent), token=TOKEN, hosts=hosts, body_bytes_max=BODY_MAX)

    async def request(method: str, path: str, **options: Any) -> httpx.Response:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.request(method, path, **options)

    def ask(method: str, path: str, **options: Any) -> httpx.Response:
        async def main() -> httpx.Response:
            return await request(method, path, **options)

        return trio.run(main)

    return ask


@pytest.fixture
def agent() -> FakeAgent:
    return FakeAgent()


@pytest.fixture
def ask(agent: FakeAgent) -> Ask:
    return asking(agent)


def packed(message: Any) -> dict[str, Any]:
    return {
        "content": msgspec.msgpack.encode(message),
        "headers": {"content-type": "application/msgpack"},
    }


class TestInfer:
    def test_one_sample(self, ask: Ask) -> None:
        answer = ask("POST", "/v1/infer", json={"x": [0.25, 0, 1]})
        assert answer.status_code == 200
        assert answer.json() == {
            "answer": {"label": 1, "word": "wet", "scores": [0.25, 0.75]},
            "round": 3,
            "replica": "ab" * 32,
        }

    def test_a_batch(self, ask: Ask) -> None:
        answer = ask("POST", "/v1/infer", json={"xs": [[0.25, 0, 1], [0.75, 0, 1]]})
        assert [each["word"] for each in answer.json()["answers"]] == ["wet", "dry"]

    def test_messagepack_and_bytes(self, ask: Ask) -> None:
        raw = np.array([0.25, 0, 1], "<f4").tobytes()
        answer = ask("POST", "/v1/infer", **packed({"x": raw}))
        assert answer.headers["content-type"] == "application/msgpack"
        assert msgspec.msgpack.decode(answer.content)["answer"]["scores"] == [0.25, 0.75]

    def test_accept_decides_the_form(self, ask: Ask) -> None:
        accept = {"accept": "application/msgpack"}
        answer = ask("POST", "/v1/infer", json={"x": [0, 0, 0]}, headers=accept)
        assert "answer" in msgspec.msgpack.decode(answer.content)

    def test_images_are_nested(self) -> None:
        ask = asking(FakeAgent(shape=(2, 2)))
        assert ask("POST", "/v1/infer", json={"x": [[0, 1], [1, 0]]}).status_code == 200
        refused = ask("POST", "/v1/infer", json={"x": [0, 1, 1, 0]})
        assert refused.status_code == 400
        assert "$.x" in refused.json()["detail"]

    def test_a_receipt_on_request(self, ask: Ask) -> None:
        for options in ({"params": {"receipt": "1"}}, {"headers": {"gossamer-receipt": "1"}}):
            answer = ask("POST", "/v1/infer", json={"x": [0, 0, 0]}, **options)
            assert answer.json()["receipt"]["format"] == "gossamer receipt 1"
        assert ask("POST", "/v1/infer?receipt=2", json={"x": [0, 0, 0]}).status_code == 400

    def test_an_agent_that_is_not_ready_says_so(self, ask: Ask, agent: FakeAgent) -> None:
        agent.failure = NotReadyError("asking neighbours")
        answer = ask("POST", "/v1/infer", json={"x": [0, 0, 0]})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        assert ask("GET", "/healthz").status_code == 503


class TestObserve:
    def test_a_sample_by_word_and_by_number(self, ask: Ask, agent: FakeAgent) -> None:
        assert ask("POST", "/v1/observe", json={"x": [0, 0, 1], "y": "wet"}).json()["taken"] == 1
        assert ask("POST", "/v1/observe", json={"x": [0, 0, 1], "y": 0}).json()["taken"] == 1
        assert [y.tolist() for _, y in agent.observed] == [[1], [0]]

    def test_a_batch(self, ask: Ask, agent: FakeAgent) -> None:
        ask("POST", "/v1/observe", json={"xs": [[0, 0, 1], [1, 0, 0]], "ys": ["wet", 0]})
        assert agent.observed[0][1].tolist() == [1, 0]

    def test_a_regression_takes_values(self) -> None:
        agent = FakeAgent(task="regression")
        ask = asking(agent)
        body = {"x": [0, 0, 1], "y": [1.5, 2]}
        assert ask("POST", "/v1/observe", json=body).status_code == 200
        assert agent.observed[0][1].tolist() == [[1.5, 2]]
        answer = ask("POST", "/v1/infer", json={"x": [0.25, 0, 1]}).json()
        assert answer["answer"] == {"values": [0.25, 0.75]}

    @pytest.mark.parametrize(
        ("body", "status", "said"),
        [
            ({"x": [0, 0, 1]}, 400, "x goes with y"),
            ({"x": [0, 0, 1], "ys": [1]}, 400, "x goes with y"),
            ({"xs": [[0, 0, 1]], "ys": [1, 0]}, 400, "1 samples but 2 labels"),
            ({"x": [0, 0, 1], "y": "damp"}, 422, "'damp' is not known; known are dry, wet"),
            ({"x": [0, 0, 1], "y": 7}, 422, "label 7 is out of range"),
            ({"x": [0, 0, 1], "y": 10**30}, 422, "out of range"),
            ({"x": [0, 0, 1], "y": -1}, 422, "out of range"),
        ],
    )
    def test_labels_that_are_none(
        self, ask: Ask, agent: FakeAgent, body: Any, status: int, said: str
    ) -> None:
        answer = ask("POST", "/v1/observe", content=json.dumps(body), headers=JSON)
        assert answer.status_code == status
        assert said in answer.json()["detail"]
        assert agent.observed == []

    def test_a_full_disk_is_the_devices_fault(self, ask: Ask, agent: FakeAgent) -> None:
        agent.failure = StoreError("disk full")
        assert ask("POST", "/v1/observe", json={"x": [0, 0, 1], "y": 0}).status_code == 503


JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"null", 400),
        (b"{}", 400),
        (b'{"x": 1}', 400),
        (b'{"x": [1, 2]}', 400),
        (b'{"x": [1, 2, 3, 4]}', 400),
        (b'{"x": [1, 2, "3"]}', 400),
        (b'{"x": [1, 2, true]}', 400),
        (b'{"x": [1, 2, NaN]}', 400),
        (b'{"x": [1, 2, 1e999]}', 400),
        (b'{"x": [1, 2, 1e39]}', 422),
        (b'{"x": [1, 2, 1e6]}', 422),
        (b'{"x": [1, 2, 3], "xs": [[1, 2, 3]]}', 400),
        (b'{"xs": []}', 400),
        (b'{"x": [1, 2, 3], "more": 1}', 400),
        (b'{"x": "AAAA"}', 400),
        (b'{"x": "?"}', 400),
        (b'{"x": ' + b"[" * 2000 + b"]" * 2000 + b"}", 400),
        (b"[" * 4000, 400),
        (b'\xff{"x": [1, 2, 3]}', 400),
        (b'{"xs": [' + b"[0,0,0]," * 400 + b"[0,0,0]]}", 200),
    ],
)
def test_bodies(ask: Ask, body: bytes, status: int) -> None:
    answer = ask("POST", "/v1/infer", content=body, headers=JSON)
    assert answer.status_code == status
    if status != 200:
        assert answer.headers["content-type"] == "application/problem+json"
        assert "\n" not in answer.json()["detail"]


@pytest.mark.parametrize(("samples", "aside"), [(1, False), (20, True)])
def test_a_large_body_is_read_in_a_thread_of_its_own(
    monkeypatch: pytest.MonkeyPatch, samples: int, aside: bool
) -> None:
    threads: list[int] = []
    read = Bodies.infer

    def watched(self: Bodies, media_type: str, raw: bytes) -> Any:
        threads.append(threading.get_ident())
        return read(self, media_type, raw)

    monkeypatch.setattr(Bodies, "infer", watched)
    monkeypatch.setattr(app_module, "INLINE_BYTES_MAX", 100)
    answer = asking(FakeAgent())("POST", "/v1/infer", json={"xs": [[0.25, 0, 1]] * samples})
    assert answer.status_code == 200
    assert (threads[0] != threading.get_ident()) == aside


class TestGuard:
    def test_a_body_over_the_limit(self, ask: Ask) -> None:
        answer = ask("POST", "/v1/infer", content=bytes(BODY_MAX + 1), headers=JSON)
        assert answer.status_code == 413

    @pytest.mark.parametrize(
        ("method", "path", "content", "closes"),
        [
            ("POST", "/v1/status", b"{}", True),  # answered before anybody reads the body
            ("POST", "/v1/infer", bytes(BODY_MAX + 1), True),
            ("POST", "/v1/infer", b"[]", False),
            ("GET", "/v1/status", b"", False),
            ("GET", "/nothing", b"", False),
        ],
    )
    def test_an_answer_to_a_body_that_was_not_read_ends_the_connection(
        self, ask: Ask, method: str, path: str, content: bytes, closes: bool
    ) -> None:
        answer = ask(method, path, content=content, headers=JSON)
        assert (answer.headers.get("connection") == "close") is closes

    def test_a_body_that_does_not_say_how_long_it_is(self, agent: FakeAgent) -> None:
        app = Guard(make_app(agent), token=TOKEN, hosts=(), body_bytes_max=BODY_MAX)
        parts = [bytes(1024)] * 20
        sent: list[Any] = []

        async def main() -> None:
            async def receive() -> Any:
                return {"type": "http.request", "body": parts.pop(), "more_body": True}

            async def send(message: Any) -> None:
                sent.append(message)

            await app(post("/v1/infer", "application/json"), receive, send)

        trio.run(main)
        assert sent[0]["status"] == 413
        assert (b"connection", b"close") in sent[0]["headers"]
        assert len(parts) == 15  # no more was read

    @pytest.mark.parametrize(
        "said", ["Bearer wrong", "Basic x", "", f"Bearer {TOKEN}x", "Bearer é"]
    )
    def test_a_wrong_token(self, ask: Ask, said: str) -> None:
        headers = {"authorization": said.encode("latin-1")}
        answer = ask("GET", "/v1/model", headers=headers)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")

    def test_a_socket_needs_no_token(self, ask: Ask) -> None:
        assert ask("GET", "/v1/model").status_code == 200
        right = {"authorization": f"bearer {TOKEN}"}
        assert ask("GET", "/v1/model", headers=right).status_code == 200

    def test_a_port_needs_one(self, agent: FakeAgent) -> None:
        ask = asking(agent, ("localhost",))
        assert ask("GET", "/v1/model").status_code == 401
        assert ask("GET", "/healthz").status_code == 200
        right = {"authorization": f"Bearer {TOKEN}"}
        assert ask("GET", "/v1/model", headers=right).status_code == 200

    def test_a_web_page_is_refused(self, agent: FakeAgent) -> None:
        ask = asking(agent, ("localhost",))
        right = {"authorization": f"Bearer {TOKEN}"}
        for stranger in ({"host": "evil.example"}, {"origin": "http://evil.example"}):
            answer = ask("GET", "/v1/model", headers=right | stranger)
            assert answer.status_code == 403
            assert "access-control-allow-origin" not in answer.headers

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("GET", "/v1/infer", 405),
            ("DELETE", "/v1/model", 405),
            ("GET", "/v1/nothing", 404),
            ("GET", "/v1/model/", 404),
            ("OPTIONS", "/v1/infer", 405),
        ],
    )
    def test_what_is_not_there(self, ask: Ask, method: str, path: str, status: int) -> None:
        answer = ask(method, path)
        assert answer.status_code == status
        assert answer.json()["status"] == status

    def test_other_content_types(self, ask: Ask) -> None:
        headers = {"content-type": "text/plain"}
        answer = ask("POST", "/v1/infer", content=b'{"x": [0, 0, 0]}', headers=headers)
        assert answer.status_code == 415

    def test_our_own_fault_is_told_without_details(
        self, ask: Ask, agent: FakeAgent, caplog: pytest.LogCaptureFixture
    ) -> None:
        agent.failure = RuntimeError("secret")
        answer = ask("POST", "/v1/infer", json={"x": [0, 0, 0]})
        assert answer.status_code == 500
        assert "secret" not in answer.text
        assert "secret" in caplog.text


def post(path: str, media_type: str) -> dict[str, Any]:
    """The ASGI scope of a request."""
    return {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"content-type", media_type.encode())],
    }


@pytest.fixture(scope="module")
def lasting() -> Iterator[Ask]:
    """One loop for many requests."""
    agent = FakeAgent()
    app = Guard(make_app(agent), token=TOKEN, hosts=(), body_bytes_max=BODY_MAX)

    def ask(path: str, body: bytes, media_type: str) -> int:
        async def main() -> int:
            status = 0

            async def receive() -> Any:
                return {"type": "http.request", "body": body, "more_body": False}

            async def send(message: Any) -> None:
                nonlocal status
                status = message.get("status", status)

            await app(post(path, media_type), receive, send)
            return status

        return trio.run(main)

    return ask


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["x", "xs", "y", "ys", "z"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@pytest.mark.slow
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    path=st.sampled_from(["/v1/infer", "/v1/observe"]),
    body=st.binary(max_size=60)
    | JSONS.map(lambda value: json.dumps(value).encode())
    | JSONS.map(lambda value: msgspec.msgpack.encode(value) if fits(value) else b""),
    media_type=st.sampled_from(["application/json", "application/msgpack", "text/html"]),
)
def test_any_body_is_answered_or_refused(
    lasting: Callable[[str, bytes, str], int], path: str, body: bytes, media_type: str
) -> None:
    assert lasting(path, body, media_type) in (200, 400, 413, 415, 422)


def fits(value: Any) -> bool:
    try:
        msgspec.msgpack.encode(value)
    except (OverflowError, ValueError):
        return False
    return True


def test_the_document_is_the_one_in_docs() -> None:
    written = (ROOT / "docs" / "openapi.json").read_text(encoding="utf-8")
    assert _flowing(json.loads(written)) == _flowing(json.loads(msgspec.json.encode(document())))


def _flowing(value: Any) -> Any:
    """Without line breaks and indents: since Python 3.13 docstrings come without theirs."""
    if isinstance(value, dict):
        return {key: _flowing(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_flowing(item) for item in value]
    return " ".join(value.split()) if isinstance(value, str) else value


def test_every_route_is_in_the_document(ask: Ask) -> None:
    answer = ask("GET", "/openapi.json").json()
    for path, operations in answer["paths"].items():
        for method in operations:
            assert ask(method.upper(), path).status_code not in (404, 405)
    assert answer["openapi"] == "3.1.0"
