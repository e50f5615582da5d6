"""The local API: what an answer costs over the socket, beside the bare call of the interpreter.

A real agent runs as a process; this one asks it over its Unix socket, one sample per request on a
connection that stays open, with the shipped model `mlp`. `bare` is the TFLite signature `infer`
called in a loop, nothing around it. `learning` is the same while the agent trains without a pause:
rounds follow one another, 2000 local steps each. Times are wall time, medians and 99th percentiles.
What is promised: the median over the socket is at most three bare calls and 1 ms, and training does
not raise the 99th percentile above ten medians.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from gossamer_agent.models import load_learner
from gossamer_agent.tflite import TfliteLearner

CALLS = 3000
WARM_UP = 200
WIDTH = 64
CONFIG = {"round_interval_s": "0.1", "local_steps": "2000", "batch": "16", "learning_rate": "0.01"}


def bare() -> list[float]:
    """Seconds of each call."""
    learner = load_learner("mlp")
    assert isinstance(learner, TfliteLearner)
    infer, params = learner._runners["infer"], learner.init()
    x = np.full((1, WIDTH), 0.5, np.float32)
    return timed(lambda: infer(weights=params, x=x))


def over_socket(path: Path) -> list[float]:
    """Seconds of each request."""
    body = json.dumps({"x": [0.5] * WIDTH}).encode()
    head = (
        "POST /v1/infer HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    request = head.encode() + body
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))

        def ask() -> None:
            connection.sendall(request)
            answer = connection.recv(65536)
            while b"\r\n\r\n" not in answer:
                answer += connection.recv(65536)
            head, _, rest = answer.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            (length,) = re.findall(rb"content-length: (\d+)", head.lower())
            while len(rest) < int(length):
                rest += connection.recv(65536)

        return timed(ask)


def timed(call: object) -> list[float]:
    assert callable(call)
    for _ in range(WARM_UP):
        call()
    times = []
    for _ in range(CALLS):
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return times


def agent(folder: Path, *options: str) -> subprocess.Popen[bytes]:
    program = [sys.executable, "-m", "gossamer_agent", "-C", str(folder), "run", *options]
    # In the background as a service would be: the client has a core of its own.
    running = subprocess.Popen(program, stderr=subprocess.DEVNULL)
    body = b'{"x": ' + json.dumps([0.5] * WIDTH).encode() + b"}"
    for _ in range(300):
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                connection.connect(str(folder / "api.sock"))
                head = b"POST /v1/infer HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
                connection.sendall(head + b"content-length: %d\r\n\r\n" % len(body) + body)
                if connection.recv(65536).startswith(b"HTTP/1.1 200"):
                    return running
            except OSError:
                pass
        time.sleep(0.1)
    raise SystemExit("the agent does not answer")


def make(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    np.savez(folder / "d.npz", x=rng.random((500, WIDTH)), y=rng.integers(0, 10, 500))
    device = folder / "device"
    options = ["--swarm", "bench", "--data", str(folder / "d.npz"), "--model", "mlp"]
    listen = ["--listen", "/ip4/127.0.0.1/tcp/0"]
    made = [sys.executable, "-m", "gossamer_agent", "init", str(device), *options, *listen]
    subprocess.run(made, check=True, capture_output=True)
    config = device / "config.toml"
    text = config.read_text(encoding="utf-8")
    for key, value in CONFIG.items():
        text = re.sub(rf"^(# )?{key} =.*$", f"{key} = {value}", text, count=1, flags=re.M)
    config.write_text(text, encoding="utf-8")
    return device


def main() -> None:
    alone = bare()
    rows = [("bare call of the interpreter", alone)]
    with tempfile.TemporaryDirectory() as name:
        device = make(Path(name))
        for label, options in (("socket, idle", ("--rounds", "1")), ("socket, learning", ())):
            running = agent(device, *options)
            try:
                time.sleep(3)
                rows.append((label, over_socket(device / "api.sock")))
            finally:
                running.terminate()
                running.wait(60)
    print("| what | median ms | p99 ms | requests/s |")
    print("|---|---|---|---|")
    for label, times in rows:
        median, tail = np.median(times), np.quantile(times, 0.99)
        print(f"| {label} | {1e3 * median:.3f} | {1e3 * tail:.3f} | {1 / np.mean(times):.0f} |")
    limit = 3e3 * np.median(alone) + 1
    idle, learning = np.median(rows[1][1]), np.quantile(rows[2][1], 0.99)
    print(
        f"\nMedian over the socket: {1e3 * idle:.2f} ms, promised at most {limit:.2f} ms. p99 while"
        f" learning: {learning / np.median(rows[1][1]):.1f} idle medians,"
        f" {learning / np.median(rows[2][1]):.1f} medians while learning; promised at most 10."
        f" Load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores."
    )


if __name__ == "__main__":
    main()
