"""The local API's own server: connections that do not behave, the token, what answers."""

from __future__ import annotations

import stat
import struct
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import trio
import trio.testing

from gossamer_agent.api import answering, listening, server, serving, stream
from gossamer_agent.api.answering import AnsweringModel
from gossamer_agent.api.listening import listen, make_token
from gossamer_agent.api.serving import NodeBackend
from gossamer_agent.api.stream import Connection, ReadyLock
from gossamer_agent.contract import Contract
from gossamer_agent.data.schema import learn_schema
from gossamer_agent.errors import ConfigError, ModelError
from gossamer_agent.learner import Samples
from gossamer_agent.models import load_learner

X = np.full((1, 64), 0.5, np.float32)


async def pair() -> tuple[trio.SocketStream, trio.SocketStream]:
    ours, theirs = trio.socket.socketpair()
    return trio.SocketStream(ours), trio.SocketStream(theirs)


def test_a_client_that_reads_nothing_does_not_keep_the_agent_from_ending() -> None:
    async def main() -> None:
        ours, theirs = await pair()

        async def write(connection: Connection) -> None:
            with trio.CancelScope(shield=True):  # as hypercorn does
                await connection.send_all(bytes(64 << 20))

        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_contained_run, ours, write)
                await trio.sleep(0.1)
                nursery.cancel_scope.cancel()
        await theirs.aclose()

    trio.run(main)


async def _contained_run(ours: trio.SocketStream, write: Any) -> None:
    async def serve(connection: Connection) -> None:
        with pytest.raises((trio.ClosedResourceError, trio.BrokenResourceError)):
            await write(connection)

    await Connection(ours).run(serve)


def test_a_client_that_reads_nothing_loses_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "WRITE_TIMEOUT_S", 0.05)

    async def main() -> None:
        ours, theirs = await pair()
        with trio.fail_after(10):
            await _contained_run(ours, lambda connection: connection.send_all(bytes(64 << 20)))
        await theirs.aclose()

    trio.run(main)


def test_head_and_body_of_an_answer_are_one_write() -> None:
    written: list[bytes] = []

    class Counting:
        def __init__(self, socket: Any) -> None:
            self.socket = socket

        async def send_all(self, data: Any) -> None:
            written.append(bytes(data))

    async def serve(connection: Connection) -> None:
        for parts in ([b"head", b"body", b"more"], [b"alone"], []):
            async with stream.written_together():
                for part in parts:
                    await connection.send_all(part)
        await connection.send_all(b"free")

    async def main() -> None:
        ours, theirs = trio.socket.socketpair()
        counting: Any = Counting(ours)
        await Connection(counting).run(serve)
        theirs.close()
        async with stream.written_together():  # of no connection
            pass

    trio.run(main)
    assert written == [b"headbody", b"more", b"alone", b"free"]


def test_a_connection_that_is_idle_is_closed_and_a_busy_one_is_not() -> None:
    async def main() -> None:
        ours, theirs = await pair()
        ended: list[str] = []

        async def serve(connection: Connection) -> None:
            await connection.idle.restart(None, None)
            await connection.idle.stop()
            await trio.sleep(0.1)
            ended.append("busy")
            await connection.idle.restart(None, None)
            await trio.sleep_forever()

        with trio.fail_after(10):
            await Connection(ours, 0.05).run(serve)
            assert await theirs.receive_some() == b""
        assert ended == ["busy"]
        await theirs.aclose()

    trio.run(main)


def test_an_idle_client_is_sent_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "KEEP_ALIVE_S", 0.2)

    async def main() -> None:
        opened = listen(tmp_path, "unix")
        assert opened is not None
        backend: Any = SimpleNamespace(
            schema=learn_schema(
                Samples(np.repeat(X, 20, axis=0), np.arange(20) % 2),
                Contract("classification", 2, (64,), 10),
            ),
            health=lambda: (True, "learning"),
        )
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                answer = partial(server.serve, token="t", body_bytes_max=1000)
                nursery.start_soon(answer, opened, backend)
                client = await trio.open_unix_socket(str(tmp_path / "api.sock"))
                for _ in range(2):
                    await client.send_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
                    assert b" 200 " in await client.receive_some()
                assert await client.receive_some() == b""
                await client.aclose()
                nursery.cancel_scope.cancel()

    trio.run(main)


def test_a_lock_waits_only_where_it_is_taken() -> None:
    async def main() -> None:
        lock = ReadyLock()
        order: list[str] = []

        async def second() -> None:
            async with lock:
                order.append("second")

        async with trio.open_nursery() as nursery, lock:
            nursery.start_soon(second)
            await trio.testing.wait_all_tasks_blocked()
            order.append("first")
        assert order == ["first", "second"]

    trio.run(main)


def test_a_fault_of_the_http_stack_costs_the_connection_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> Any:
        raise ImportError("no HTTP here")

    monkeypatch.setattr(server, "_conversing", broken)

    async def main() -> None:
        opened = listen(tmp_path, "unix")
        assert opened is not None
        backend: Any = None
        async with trio.open_nursery() as nursery:
            serving = server.serve(opened, backend, token="t", body_bytes_max=1)
            nursery.start_soon(lambda: serving)
            for _ in range(2):
                async with await trio.open_unix_socket(tmp_path / "api.sock") as client:
                    with trio.fail_after(10):
                        assert await client.receive_some() == b""
            nursery.cancel_scope.cancel()

    trio.run(main)
    assert "no HTTP here" in caplog.text


def test_http_2_brings_one_request_at_a_time(tmp_path: Path) -> None:
    known = Samples(np.random.default_rng(0).random((20, 3)), np.arange(20) % 2)
    schema = learn_schema(known, Contract("classification", 2, (3,), 10))
    backend: Any = SimpleNamespace(schema=schema)

    async def main() -> bytes:
        opened = listen(tmp_path, "unix")
        assert opened is not None
        async with trio.open_nursery() as nursery:
            serving = server.serve(opened, backend, token="t", body_bytes_max=1)
            nursery.start_soon(lambda: serving)
            async with await trio.open_unix_socket(tmp_path / "api.sock") as client:
                await client.send_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
                with trio.fail_after(10):
                    settings = await client.receive_some(9 + 6 * 16)
            nursery.cancel_scope.cancel()
        return bytes(settings)

    settings = trio.run(main)[9:]  # RFC 9113, section 6.5.1: numbers of 2 bytes, values of 4
    values = {struct.unpack_from(">HI", settings, at) for at in range(0, len(settings) - 5, 6)}
    assert (3, 1) in values


def test_a_kill_leaves_no_half_of_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(_: int) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(listening.secrets, "token_urlsafe", killed)
        with pytest.raises(KeyboardInterrupt):
            make_token(tmp_path / "api.token")
    token = make_token(tmp_path / "api.token")
    assert make_token(tmp_path / "api.token") == token
    assert stat.S_IMODE((tmp_path / "api.token").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["api.token"]
    (tmp_path / "api.token").write_text("short")
    with pytest.raises(ConfigError, match="holds no token"):
        make_token(tmp_path / "api.token")


class TestAnswering:
    def test_an_answer_that_is_no_number_is_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        learner = load_learner("softmax")
        model = AnsweringModel(learner, "softmax")
        scores, personal = model.answer(learner.init(), X)
        assert scores.sum() == pytest.approx(1)
        assert not personal
        nothing = np.full((1, 10), np.nan, np.float32)
        monkeypatch.setattr(type(learner), "infer", lambda *_: nothing)
        with pytest.raises(ModelError, match="no finite answer"):
            model.answer(learner.init(), X)

    def test_another_model_file_does_not_answer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        learner, other = load_learner("softmax"), load_learner("mlp")
        monkeypatch.setattr(answering, "load_learner", lambda _: other)
        with pytest.raises(ModelError, match="changed since the agent began"):
            AnsweringModel(learner, "softmax").answer(learner.init(), X)


def test_a_snapshot_is_never_taken_from_a_core_at_work() -> None:
    core = SimpleNamespace(served=np.zeros(4, np.float32), round=1)
    learner = SimpleNamespace(model_sha256=bytes(32))
    identity = SimpleNamespace(genesis=SimpleNamespace(swarm_id=bytes(32)), model="softmax")

    async def main() -> None:
        runtime = SimpleNamespace(core=core, kept=None, at_rest=trio.Lock())
        node: Any = SimpleNamespace(
            means=SimpleNamespace(intake=None, learning=SimpleNamespace(learner=learner)),
            life=SimpleNamespace(runtime=runtime, state="learning"),
            device=identity,
        )
        backend = NodeBackend(node)
        first = await backend._now()
        async with runtime.at_rest:
            core.served = np.ones(4, np.float32)  # the round is not yet counted
            assert await backend._now() is first
            core.round = 2
        second = await backend._now()
        assert (second.version.round, second.served is core.served) == (2, True)
        assert second.version.replica != first.version.replica

    trio.run(main)


def test_the_event_loop_computes_only_what_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = load_learner("softmax")
    node: Any = SimpleNamespace(
        means=SimpleNamespace(
            intake=SimpleNamespace(notice=lambda _: None), learning=SimpleNamespace(learner=learner)
        ),
        device=SimpleNamespace(model="softmax"),
    )
    backend = NodeBackend(node)
    snapshot: Any = SimpleNamespace(served=learner.init())
    clock = iter(np.arange(0.0, 10.0, 0.01))
    monkeypatch.setattr(serving.time, "thread_time", lambda: next(clock))
    assert not backend._is_quick(1)
    backend._compute(snapshot, X)  # loads the model
    assert not backend._is_quick(1)
    backend._compute(snapshot, X)  # takes 10 ms
    assert not backend._is_quick(1)
    monkeypatch.setattr(serving.time, "thread_time", lambda: 0.0)
    for _ in range(60):
        backend._compute(snapshot, X)
    assert backend._is_quick(1)
    assert not backend._is_quick(1000)
    backend._inferring.acquire_on_behalf_of_nowait("a large batch")
    assert not backend._is_quick(1)
