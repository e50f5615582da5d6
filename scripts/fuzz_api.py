"""Throws malformed requests at the local API of a real agent: `python scripts/fuzz_api.py [COUNT]`.

Founds a swarm in a temporary folder, runs its agent as a process, and sends it COUNT requests
(100,000 if not said) over the Unix socket: random bytes, broken and wrongly typed JSON and
MessagePack, deep nesting, wrong headers and raw bytes that are no HTTP. Each must be answered with
4xx (raw bytes: 4xx or a closed connection), and the agent must answer a good request afterwards.
Prints how often each status came; exit code 1 for anything else.
"""

from __future__ import annotations

import json
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

COUNT = 100_000
WIDTH = 64
PATHS = ("/v1/infer", "/v1/observe", "/v1/infer?receipt=1")
JSON, MSGPACK = "application/json", "application/msgpack"
FRAGMENTS = ("null", "true", "-0", "1e999", "NaN", "[]", "{}", '"\\ud800"', "9" * 400, "[[[", '""')


class Connection:
    """One kept-alive connection; a request at a time."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._socket: socket.socket | None = None

    def ask(self, head: str, body: bytes) -> int:
        """The status of the answer; 0 if the connection was closed without one."""
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX)
                self._socket.settimeout(30)
                self._socket.connect(self._path)
            self._socket.sendall(head.encode("latin-1", "replace") + body)
            return self._answer(self._socket)
        except (BrokenPipeError, ConnectionResetError):
            self.close()
            return 0

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _answer(self, connection: socket.socket) -> int:
        raw = b""
        while b"\r\n\r\n" not in raw:
            part = connection.recv(65536)
            if not part:
                self.close()
                return int(raw.split()[1]) if raw.startswith(b"HTTP/") else 0
            raw += part
        head, _, body = raw.partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
        while len(body) < length:
            part = connection.recv(65536)
            if not part:
                break
            body += part
        if b"connection: close" in lines:
            self.close()
        return int(head.split()[1])


def wild(chance: random.Random, depth: int = 0) -> Any:
    """Any value, seldom the right one."""
    kind = chance.randrange(9 if depth < 4 else 6)
    if kind < 6:
        simple = (None, True, chance.randrange(-9, 99), chance.gauss(0, 1e9), "x" * kind, "dry")
        return simple[kind]
    if kind == 6:
        return [wild(chance, depth + 1) for _ in range(chance.randrange(5))]
    if kind == 7:
        return [0.5] * chance.choice((WIDTH - 1, WIDTH + 1, 0, 1, 3))
    names = chance.sample(("x", "xs", "y", "ys", "z", ""), chance.randrange(4))
    return {name: wild(chance, depth + 1) for name in names}


def near_miss(chance: random.Random) -> Any:
    """A good body with one fault."""
    body: dict[str, Any] = {"x": [0.5] * WIDTH}
    fault = chance.randrange(5)
    if fault == 0:
        body["x"][chance.randrange(WIDTH)] = chance.choice((None, "1", [1], 1e38, -1e30, True))
    elif fault == 1:
        body["more"] = 1
    elif fault == 2:
        body["xs"] = [body["x"]]
    elif fault == 3:
        body = {"xs": [[0.5] * WIDTH, [0.5] * chance.randrange(WIDTH)]}
    else:
        body["x"] = bytes(chance.randrange(4 * WIDTH))
    return body


def body_of(chance: random.Random) -> tuple[str, bytes]:
    """Content type and a body that no route takes."""
    kind = chance.randrange(7)
    if kind == 0:
        return chance.choice((JSON, MSGPACK)), chance.randbytes(chance.randrange(200))
    if kind == 1:
        value = near_miss(chance)
        return MSGPACK, msgpack.packb(value)
    if kind == 2:
        return JSON, json.dumps(near_miss(chance), default=str).encode()
    if kind == 3:
        return JSON, json.dumps(wild(chance)).encode()
    if kind == 4:
        return MSGPACK, msgpack.packb(wild(chance))
    if kind == 5:
        text = '{"x": ' + chance.choice(FRAGMENTS) * chance.randrange(1, 300) + "}"
        return JSON, text.encode()
    good = bytearray(json.dumps({"x": [0.5] * WIDTH}).encode())
    good[chance.randrange(len(good))] = chance.choice(b'\x00\xff"{}[],:e')
    return chance.choice((JSON, "text/html", "")), bytes(good[: chance.randrange(len(good))])


def request(chance: random.Random) -> tuple[str, bytes, bool]:
    """Head, body, and whether it is HTTP at all."""
    kind, body = body_of(chance)
    path = chance.choice(PATHS)
    method, length, more = "POST", str(len(body)), ""
    oddity = chance.randrange(60)
    if oddity == 0:
        return "", chance.randbytes(chance.randrange(1, 300)) + b"\r\n\r\n", False
    if oddity == 1:
        length = chance.choice(("-1", "x", "9" * 30, "99999999"))
        return f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n", b"", False
    if oddity == 2:
        path = "/" + "".join(chance.choice("abc/%.?\x7f~") for _ in range(20))
    elif oddity == 3:
        method = chance.choice(("PUT", "DELETE", "PATCH", "BREW"))
    elif oddity == 4:
        more = "authorization: Bearer " + "x" * chance.randrange(40) + "\r\n"
    elif oddity == 5:
        body = bytes(5 << 20)
        length = str(len(body))
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n"
        return head, b"", True  # refused before a byte of it is read
    head = (
        f"{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-type: {kind}\r\n"
        f"content-length: {length}\r\n{more}\r\n"
    )
    return head, body, oddity != 2


def make_agent(folder: Path) -> subprocess.Popen[bytes]:
    """Found a swarm and start its agent; returns when it answers."""
    rng = np.random.default_rng(0)
    np.savez(folder / "d.npz", x=rng.random((64, WIDTH)), y=np.arange(64) % 10)
    program = [sys.executable, "-m", "gossamer_agent"]
    options = ("--swarm", "fuzz", "--data", str(folder / "d.npz"))
    listen = ("--listen", "/ip4/127.0.0.1/tcp/0")
    made = [*program, "init", str(folder / "d"), *options, *listen]
    subprocess.run(made, check=True, capture_output=True)
    return subprocess.Popen([*program, "-C", str(folder / "d"), "run"])


def good(path: str, patience_s: float) -> bool:
    """Whether a good request is answered."""
    body = json.dumps({"x": [0.5] * WIDTH}).encode()
    head = f"POST /v1/infer HTTP/1.1\r\nhost: x\r\ncontent-type: {JSON}\r\n"
    until = time.monotonic() + patience_s
    while time.monotonic() < until:
        connection = Connection(path)
        try:
            if connection.ask(f"{head}content-length: {len(body)}\r\n\r\n", body) == 200:
                return True
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.2)
    return False


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else COUNT
    chance, seen, wrong = random.Random(7), Counter[int](), []
    with tempfile.TemporaryDirectory() as name:
        agent = make_agent(Path(name))
        path = str(Path(name) / "d" / "api.sock")
        try:
            assert good(path, 60), "the agent does not answer"
            connection = Connection(path)
            for number in range(count):
                head, body, is_http = request(chance)
                if not is_http:
                    connection.close()
                status = connection.ask(head, body)
                if not is_http or status == 0:
                    connection.close()
                seen[status] += 1
                if not (400 <= status < 500 or (status == 0 and not is_http)):
                    wrong.append((status, head[:80], body[:80]))
                if sys.stderr.isatty() and number % 1000 == 0:
                    print(f"\r{number} of {count}", end="", file=sys.stderr)
            connection.close()
            alive = good(path, 10) and agent.poll() is None
        finally:
            agent.terminate()
            agent.wait(30)
    for status, times in sorted(seen.items()):
        print(f"{status or 'closed'}: {times}")
    for status, head, start in wrong[:10]:
        print(f"WRONG {status}: {head!r} {start!r}")
    print(f"{count} requests, {len(wrong)} wrong answers, the agent {'works' if alive else 'died'}")
    return int(bool(wrong) or not alive)


if __name__ == "__main__":
    raise SystemExit(main())
