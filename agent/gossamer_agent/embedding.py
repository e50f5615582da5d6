"""An agent inside another program: `from gossamer_agent import Agent`.

    with Agent("garden") as agent:
        answer = agent.infer(reading)
        agent.observe(reading, "dry")

The agent runs in a thread of its own, with a trio loop of its own, exactly as `gossamer run` runs
it. The methods may be called from any thread. Leaving the block ends the agent cleanly. The program
keeps its signals: the agent installs no handlers.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from operator import index
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import trio

from gossamer_agent.api.bodies import Answer, answers_of
from gossamer_agent.data.reservoir import Added
from gossamer_agent.data.schema import Schema, is_regression
from gossamer_agent.device.folder import open_device
from gossamer_agent.errors import AgentError, DataError
from gossamer_agent.node.node import Node, OpenOutside, run_node
from gossamer_agent.node.over_libp2p import open_libp2p
from gossamer_agent.node.status import AgentStatus
from gossamer_agent.receipt import Receipt
from gossamer_transport.errors import NetworkError

START_TIMEOUT_S: Final = 120.0
STOP_TIMEOUT_S: Final = 60.0

_Result = TypeVar("_Result")


class Agent:
    """The agent of the device in `folder`. Start it once, with `with` or `start`.

    passphrase: of the key file, if it has one. rounds: begin no more than so many. open_outside:
    another network than libp2p, for tests. Raises AgentError or NetworkError: whatever would end
    `gossamer run`; AgentError for calls while it does not run.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        passphrase: str | None = None,
        rounds: int | None = None,
        open_outside: OpenOutside = open_libp2p,
    ) -> None:
        self._device = open_device(Path(folder), passphrase)
        self._rounds = rounds
        self._open_outside = open_outside
        self._settled = threading.Event()
        self._ended: BaseException | None = None
        self._token: trio.lowlevel.TrioToken | None = None
        self._scope = trio.CancelScope()
        self._node: Node | None = None
        self._thread = threading.Thread(target=self._main, name="gossamer agent", daemon=True)

    def start(self) -> None:
        """Start the agent, and wait until its network is open."""
        self._thread.start()
        in_time = False
        try:
            in_time = self._settled.wait(START_TIMEOUT_S)
        finally:
            if not in_time:  # or the program was interrupted
                self.stop()
        if not in_time:
            raise AgentError(f"{self._device.path}: the agent did not start in time")
        if self._node is None:
            self._thread.join()
            raise self._why()

    def stop(self) -> None:
        """End the agent: others vouch for the newest entries, stores are closed."""
        if self._thread.is_alive() and self._token is not None:
            with suppress(trio.RunFinishedError, trio.Cancelled):
                trio.from_thread.run(self._end, trio_token=self._token)
        if self._thread.ident is not None:
            self._thread.join(STOP_TIMEOUT_S)

    def infer(self, x: Any) -> Answer:
        """The answer to one sample of the model's input shape. DataError for what is none."""
        return self.infer_many(np.asarray(x)[None])[0]

    def infer_many(self, xs: Any) -> list[Answer]:
        """The answers to a batch [n, ...]."""
        return self._infer(xs, receipt=False)[0]

    def infer_with_receipt(self, x: Any) -> tuple[Answer, Receipt]:
        """The answer to one sample, and a signed receipt."""
        answers, receipt = self._infer(np.asarray(x)[None], receipt=True)
        assert receipt is not None, "it was asked for"
        return answers[0], receipt

    def observe(self, x: Any, y: Any) -> Added:
        """Learn from one sample and its label: a number, a word, or the values of a regression."""
        return self.observe_many(np.asarray(x)[None], [y])

    def observe_many(self, xs: Any, ys: Any) -> Added:
        """As `observe`, a batch."""
        node = self._running()
        intake = node.means.intake
        x = _samples(xs)
        return intake.observe(x, _labels(ys, intake.schema), "program")

    def status(self) -> AgentStatus:
        """As `gossamer status`."""
        return self._call(self._running().status)

    def __enter__(self) -> Agent:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _infer(self, xs: Any, *, receipt: bool) -> tuple[list[Answer], Receipt | None]:
        node = self._running()
        schema, backend = node.means.intake.schema, node.serving.backend
        x = _samples(xs)
        schema.check(x)
        answered = self._call(lambda: backend.infer(x, receipt))
        return answers_of(schema, answered.scores), answered.receipt

    def _call(self, ask: Callable[[], Awaitable[_Result]]) -> _Result:
        assert self._token is not None, "the agent runs"
        try:
            return trio.from_thread.run(ask, trio_token=self._token)
        except (trio.RunFinishedError, trio.Cancelled):
            raise self._why() from None

    def _running(self) -> Node:
        if self._node is None or not self._thread.is_alive():
            raise self._why()
        return self._node

    def _why(self) -> BaseException:
        """Why the agent does not run."""
        return self._ended or AgentError(f"{self._device.path}: the agent does not run")

    # In the agent's thread -----------------------------------------------------------------------

    def _main(self) -> None:
        try:
            trio.run(self._run)
        except BaseException as error:  # it belongs to whoever calls next
            self._ended = error
        finally:
            self._settled.set()

    async def _run(self) -> None:
        self._token = trio.lowlevel.current_trio_token()

        def ready(node: Node) -> None:
            self._node = node
            self._settled.set()

        with self._scope:
            await run_node(
                self._device,
                open_outside=self._open_outside,
                rounds=self._rounds,
                on_ready=ready,
            )

    async def _end(self) -> None:
        try:
            if self._node is not None:
                with suppress(NetworkError):
                    await self._node.farewell()
        finally:
            self._scope.cancel()


def _labels(ys: Any, schema: Schema) -> np.ndarray[Any, Any]:
    try:
        if is_regression(schema.contract):
            with np.errstate(over="ignore"):
                return np.asarray(ys, np.float32)
        # `index` takes whole numbers of any kind, and does not cut 1.7 to 1.
        return np.array(
            [schema.number(y if isinstance(y, str) else index(y)) for y in ys], np.int32
        )
    except (ValueError, TypeError):
        raise DataError("a label must be a number or a word, of a regression its values") from None


def _samples(xs: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    try:
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(xs, np.float32)
    except (ValueError, TypeError):
        raise DataError("a sample must be numbers in the model's input shape") from None
