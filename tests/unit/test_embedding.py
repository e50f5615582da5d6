"""A real agent inside this program, asked directly and over its socket."""

from __future__ import annotations

import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gossamer_agent import Agent
from gossamer_agent.client import Client, ClientError
from gossamer_agent.errors import AgentError, DataError
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
        assert client.observe_many([X + 0.1, X + 0.2], [1, 2]).taken == 2
        assert client.status()["data"]["taken"] == 3
        assert agent.status().data is not None
        with pytest.raises(DataError):
            agent.infer(X[:3])
        with pytest.raises(ClientError, match=r"at `\$\.x`") as raised:
            client.infer(X[:3])
        assert raised.value.status == 400
        assert stat.S_IMODE((folder / "api.sock").stat().st_mode) == 0o600
    assert not (folder / "api.sock").exists()
    with pytest.raises(AgentError, match="does not run"):
        agent.infer(X)
