"""A program of its own as a learner: `process:Rscript learner.R`.

Every request carries all that the program needs, so a program that died can be started again and
asked the same. It is, a few times; then whatever is wrong with it is a ModelError in one line.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import numpy as np

from gossamer_agent.contract import Contract
from gossamer_agent.errors import DataError, ModelError
from gossamer_agent.learner import Samples, Score, Trained, Training, Vector, check_params
from gossamer_agent.learners import frames
from gossamer_agent.learners.child import Child, GoneError
from gossamer_agent.learners.identity import check_trained, model_digest

RESTARTS_MAX: Final = 3
"""In a row: a program that has answered often since is given as many again."""
FORGIVEN_AFTER: Final = 100
START_S: Final = 60.0
"""How long the first answer may take; R and its packages load in it."""

T = TypeVar("T")


class ProcessLearner:
    """The learner protocol over the standard input and output of a program; see `frames`.

    command: the program and its arguments; no shell sees them. Any number of agents may share
    one; requests are made one after another. Raises ModelError, as do all methods.
    """

    def __init__(self, command: Sequence[str], *, start_s: float = START_S) -> None:
        if not command:
            raise ModelError("process: names no program; write process:COMMAND ARGUMENT ...")
        self._command = tuple(command)
        self._start_s = start_s
        self._lock = threading.Lock()
        self._child: Child | None = None
        # A program that does not get as far as its first answers is not started again.
        self._restarts = RESTARTS_MAX
        self._answers = 0
        self._patience_s = 0.0  # beside `start_s`, until the program has said what it needs
        declared = self._ask(
            frames.contract_request(), frames.ANSWER_ROOM_BYTES, frames.parse_contract
        )
        self._declared = declared
        self._patience_s = float(declared.patience_s)
        parameters = declared.contract.parameters
        self._initial = self._ask(
            frames.init_request(),
            4 * parameters,
            lambda raw: frames.parse_init(raw, declared.contract),
        )
        try:
            self._model_sha256 = model_digest(declared.name, declared.contract, self._initial)
        except ModelError as error:
            raise ModelError(self._told(str(error))) from None
        self._restarts = 0

    @property
    def contract(self) -> Contract:
        return self._declared.contract

    @property
    def model_sha256(self) -> bytes:
        """See `model_digest`: programs that declare the same are the same model."""
        return self._model_sha256

    def init(self) -> Vector:
        """The first parameters, float32 [P], as the program gave them when it was started."""
        return self._initial.copy()

    def infer(self, params: Vector, x: Vector) -> Vector:
        """Outputs float32 [n, classes]."""
        check_params(self.contract, params)
        x = np.ascontiguousarray(x, np.float32)
        if x.shape[1:] != self.contract.input_shape or len(x) == 0:
            raise DataError(f"inputs have shape {x.shape}, not (n, {self.contract.input_shape})")
        return self._ask(
            frames.infer_request(params, x),
            4 * len(x) * self.contract.classes,
            lambda raw: frames.parse_infer(raw, self.contract, len(x)),
        )

    def train(
        self, params: Vector, data: Samples, settings: Training, rng: np.random.Generator
    ) -> Trained:
        """What the program makes of the settings is its own affair. Raises DivergedError too."""
        check_params(self.contract, params)
        data.check(self.contract)
        seed = int(rng.integers(frames.SEED_MAX))
        trained = self._ask(
            frames.train_request(params, data, settings, seed),
            4 * self.contract.parameters,
            lambda raw: frames.parse_train(raw, self.contract),
        )
        check_trained(trained.params, self.contract.bound)
        return trained

    def evaluate(self, params: Vector, data: Samples) -> Score:
        check_params(self.contract, params)
        data.check(self.contract)
        return self._ask(
            frames.evaluate_request(params, data),
            0,
            lambda raw: frames.parse_evaluate(raw, len(data)),
        )

    def close(self) -> None:
        """End the program. It is started again if it is asked again."""
        with self._lock:
            self._drop()

    # The program ---------------------------------------------------------------------------------

    def _ask(self, request: bytes, array_bytes: int, parse: Callable[[bytes], T]) -> T:
        with self._lock:
            while True:
                try:
                    answer = self._exchange(request, array_bytes, parse)
                except GoneError as gone:
                    why = str(gone)
                except frames.NonsenseError as nonsense:
                    why = f"answered nonsense: {nonsense}"
                except frames.SaidError as said:
                    raise ModelError(self._told(f"says: {said}")) from None
                except ModelError as error:
                    raise ModelError(self._told(str(error))) from None
                else:
                    self._answered()
                    return answer
                self._failed(why)

    def _exchange(self, request: bytes, array_bytes: int, parse: Callable[[bytes], T]) -> T:
        patience_s = self._patience_s
        if self._child is None:
            self._child = Child(self._command)
            patience_s += self._start_s
        most = array_bytes + frames.ANSWER_ROOM_BYTES
        return parse(self._child.ask(request, most, patience_s))

    def _failed(self, why: str) -> None:
        """Count, and raise ModelError when it is enough."""
        self._drop()
        self._answers = 0
        if self._restarts >= RESTARTS_MAX:
            raise ModelError(self._told(why))
        self._restarts += 1

    def _answered(self) -> None:
        self._answers += 1
        if self._answers >= FORGIVEN_AFTER:
            self._restarts = 0

    def _drop(self) -> None:
        if self._child is not None:
            self._child.end()
            self._child = None

    def _told(self, what: str) -> str:
        return f"learner process:{' '.join(self._command)}: {what}"
