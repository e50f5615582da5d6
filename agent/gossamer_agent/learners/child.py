"""A program that answers frames on its standard output: started, asked, and ended for sure.

Each frame has its length before it, four bytes, big-endian. No shell is involved, and the program
leads a process group of its own: a Ctrl-C at the agent's terminal does not reach it, and whatever
it starts ends with it. If the agent is killed, its input ends, which tells it to end as well.
"""

from __future__ import annotations

import contextlib
import io
import os
import selectors
import signal
import struct
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Final, cast

from gossamer_agent.errors import ModelError
from gossamer_agent.learners.frames import NonsenseError

_GRACE_S: Final = 1.0
"""How long a program may take to end by itself when its input has ended."""
_LENGTH: Final = struct.Struct(">I")
_CHUNK: Final = 1 << 20
_LINE_MAX: Final = 2000


class GoneError(Exception):
    """The program ended, or did not answer in time; the text is one line."""


class Child:
    """One running program. Not thread-safe. Raises ModelError when it cannot be started."""

    def __init__(self, command: Sequence[str]) -> None:
        try:
            self._process = subprocess.Popen(  # noqa: S603 - the owner's command, and no shell
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                bufsize=0,
            )
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise ModelError(f"cannot start {command[0]!r:.80}: {why}") from None
        assert self._process.stdin and self._process.stdout and self._process.stderr
        self._input, self._output = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._input, False)
        os.set_blocking(self._output, False)
        self._echo = _Echo(cast(io.RawIOBase, self._process.stderr), Path(command[0]).name)
        # Also when this object is dropped, and when the interpreter ends.
        self.end = weakref.finalize(self, _end, self._process, self._echo)

    def ask(self, frame: bytes, answer_bytes_max: int, patience_s: float) -> bytes:
        """Send one frame and return the one that answers it.

        Raises GoneError, and NonsenseError for a longer answer than `answer_bytes_max`. After
        either the program is of no use any more.
        """
        deadline = time.monotonic() + patience_s
        if self._read(1):
            raise NonsenseError("it spoke without being asked")
        request = memoryview(_LENGTH.pack(len(frame)) + frame)
        answer = bytearray()
        wanted = _LENGTH.size
        with selectors.DefaultSelector() as ready:
            ready.register(self._input, selectors.EVENT_WRITE)
            ready.register(self._output, selectors.EVENT_READ)
            while len(answer) < wanted:
                events = ready.select(max(0.0, deadline - time.monotonic()))
                if not events:
                    raise GoneError(f"gave no answer in {patience_s:g} s")
                for key, _ in events:
                    if key.fd == self._input:
                        request = self._write(request)
                        if not request:
                            ready.unregister(self._input)
                        continue
                    answer += self._read(min(wanted - len(answer), _CHUNK))
                    if request and answer:
                        raise NonsenseError("it answered before it had read the request")
                    if wanted == _LENGTH.size == len(answer):
                        wanted += _checked(_LENGTH.unpack(answer)[0], answer_bytes_max)
        return bytes(answer[_LENGTH.size :])

    def _write(self, rest: memoryview) -> memoryview:
        try:
            return rest[os.write(self._input, rest[:_CHUNK]) :]
        except BlockingIOError:
            return rest
        except BrokenPipeError:
            raise GoneError(self._last_words()) from None

    def _read(self, size: int) -> bytes:
        try:
            chunk = os.read(self._output, size)
        except BlockingIOError:
            return b""
        if not chunk:
            raise GoneError(self._last_words())
        return chunk

    def _last_words(self) -> str:
        """How it ended, and what it wrote to its standard error last."""
        code = _wait_for(self._process.pid)
        if code is None:
            how = "closed its output"
        elif code < 0:
            how = f"was ended by signal {-code}"
        else:
            how = f"ended with exit code {code}"
        self._echo.join(_GRACE_S)
        return f"{how}: {self._echo.last}" if self._echo.last else how


class _Echo(threading.Thread):
    """Shows what a program writes to its standard error, line by line; keeps the last one."""

    def __init__(self, stream: io.RawIOBase, name: str) -> None:
        super().__init__(name=f"stderr of {name}", daemon=True)
        self.last = ""
        self._stream = stream
        self._name = name
        self.start()

    def run(self) -> None:
        # An unbuffered pipe reads a line byte by byte; the reader on top does not, and closes it.
        with contextlib.suppress(ValueError, OSError), io.BufferedReader(self._stream) as lines:
            while line := lines.readline(_LINE_MAX):
                text = line.decode("utf-8", "replace").strip()
                shown = "".join(c if c.isprintable() else " " for c in text)
                if shown:
                    self.last = shown
                    print(f"{self._name}: {shown}", file=sys.stderr)  # noqa: T201


def _checked(size: int, most: int) -> int:
    if not 0 < size <= most:
        raise NonsenseError(f"an answer of {size} bytes where at most {most} are possible")
    return size


def _end(process: subprocess.Popen[bytes], echo: _Echo) -> None:
    """End a program and all that it started, and forget it."""
    assert process.stdin and process.stdout
    with contextlib.suppress(OSError):
        process.stdin.close()
    _wait_for(process.pid)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    # Whom we may not kill (a command such as sudo) is not waited for.
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE_S)
    process.stdout.close()
    echo.join(_GRACE_S)


def _wait_for(pid: int) -> int | None:
    """The exit code, negative for a signal; None where it goes on for longer than we wait.

    It is not reaped: until it is, its number is nobody else's, and its group can be killed.
    """
    deadline = time.monotonic() + _GRACE_S
    while (ended := os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is None:
        if time.monotonic() >= deadline:
            return None
        time.sleep(0.005)
    return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
