"""A real agent inside this program, asked directly and over its socket."""

from __future__ import annotations

import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import trio

from gossamer_agent import Agent
from gossamer_agent.client import Client, ClientError
from gossamer_agent.errors import AgentError, DataError, StoreError
from gossamer_agent.receipt import verify_receipt

Gossamer = Callable[..., Any]
X = np.full(64, 0.5, np.float32)


def test_the_package_alone_loads_nothing() -> None:
    code = "import sys, gossamer_agent; sys.exit('numpy' in sys.modules or 'trio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
def test_an_agent_answers_learns_and_ends(gossamer: Gossamer, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "d.npz", x=rng.random((64, 64)), y=np.arange(64) % 10)
    folder = tmp_path / ("long" * 20) / "device"  # longer than a Unix address
    folder.parent.mkdir()
    options = ("--swarm", "s", "--model", "softmax", "--data", tmp_path / "d.npz")
    ran = gossamer("init", folder, *options, "--listen", "/ip4/127.0.0.1/tcp/0")
    assert ran.code == 0, ran.err
    with pytest.raises(ClientError, match="is the agent running"), Client(folder) as client:
        client.model()
    with Agent(folder, rounds=1) as agent, Client(folder) as client:
        for _ in range(300):
            if agent.status().rounds:  # the last one: the model stays as it is
                break
            time.sleep(0.1)
        assert agent.infer(X) == client.infer(X)
        answer, receipt = client.infer_with_receipt(X)
        verify_receipt(receipt, X[None])
        assert receipt.answer[0] == answer.scores
        assert agent.observe(X, 3).taken == 1
        assert client.observe(X, 3).duplicates == 1
        assert client.observe_many([X + 0.1, X + 0.2], np.array([1, 2])).taken == 2
        assert client.status()["data"]["taken"] == 3
        assert agent.observe_many([X], [np.int64(3)]).duplicates == 1
        for label in (1.7, None, [1]):
            with pytest.raises(DataError, match="a label must be"):
                agent.observe(X, label)
        with pytest.raises(ClientError, match=r"label 'dry' is not known") as raised:
            client.observe_many([X, X], [3, "dry"])  # a number stays one beside a word
        with pytest.raises(ClientError, match="must be numbers or words: not object"):
            client.observe(X, object())
        assert agent.status().data is not None
        with pytest.raises(DataError):
            agent.infer(X[:3])
        with pytest.raises(ClientError, match=r"at `\$\.x`") as raised:
            client.infer(X[:3])
        assert raised.value.status == 400
        assert stat.S_IMODE((folder / "api.sock").stat().st_mode) == 0o600
    assert not (folder / "api.sock").exists()
    assert "gossamer agent" not in {thread.name for thread in threading.enumerate()}
    with pytest.raises(AgentError, match="does not run"):
        agent.infer(X)


def test_a_farewell_that_fails_ends_the_agent_all_the_same(
    gossamer: Gossamer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gossamer_agent.embedding.open_device", lambda *_: None)
    agent = Agent(tmp_path)

    async def farewell() -> None:
        raise StoreError("the disk is full")

    async def run() -> None:
        agent._token = trio.lowlevel.current_trio_token()
        agent._node = cast(Any, SimpleNamespace(farewell=farewell))
        agent._settled.set()
        with agent._scope:
            await trio.sleep_forever()

    monkeypatch.setattr(agent, "_run", run)
    agent.start()
    with pytest.raises(StoreError):
        agent.stop()
    agent._thread.join(10)
    assert not agent._thread.is_alive()


def test_an_api_that_is_off_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = SimpleNamespace(api=SimpleNamespace(listen="off"))
    monkeypatch.setattr("gossamer_agent.client.load_config", lambda _: settings)
    with pytest.raises(ClientError, match="the local API is off"):
        Client(tmp_path)
