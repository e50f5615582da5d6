"""Try a model file in a process of its own, so that a damaged one takes nothing down with it.

Theory of operation. The runtime maps a file and follows the offsets it finds there; of altered
files about one in three ends it with a signal, and a few never end. The parent starts this module
as a program, which lowers its own limits, reads the file once, sees that its offsets stay within it
(`tflite_file`), loads and runs all its signatures and prints one line of JSON. The parent believes
that line only when the child ended well. What is reported belongs to the SHA-256 in the report:
load the file with that pin and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gossamer_agent.errors import ModelError

if TYPE_CHECKING:
    from gossamer_agent.tflite import TfliteLearner

TIMEOUT_S: Final = 30.0
_CPU_S_MAX: Final = 20
_MEMORY_BYTES_MAX: Final = 4 << 30
_ANSWER_BYTES_MAX: Final = 64 << 10
_ROWS: Final = 3
_BEGIN: Final = b"gossamer-probe:"


@dataclass(frozen=True, slots=True)
class ModelReport:
    """What a probe found. With `usable` false, `problem` is one line and sizes may be unknown (0).

    sha256: of the bytes that were tried, empty if the file could not be read; size: bytes of the
    file; parameters, task, classes, input_shape: the contract; signatures: names found.
    """

    path: Path
    usable: bool
    problem: str = ""
    sha256: bytes = b""
    size: int = 0
    parameters: int = 0
    task: str = ""
    classes: int = 0
    input_shape: tuple[int, ...] = ()
    signatures: tuple[str, ...] = ()


def check_model(path: str | Path, *, timeout_s: float = TIMEOUT_S) -> ModelReport:
    """Probe a file. A file that cannot be used, or not even read, is a report, not an exception.

    Raises ModelError only when this device cannot probe at all (no runtime, no new process).
    """
    path = Path(path)
    try:
        done = subprocess.run(  # noqa: S603 - this interpreter, this module, no shell
            [sys.executable, "-P", "-m", __name__, str(path)],
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return ModelReport(path, usable=False, problem=_unusable(f"no answer in {timeout_s:g} s"))
    except OSError as error:
        raise ModelError(f"cannot start a process to try {path}: {error.strerror}") from None
    if done.returncode < 0:
        reason = f"it ends the runtime with signal {-done.returncode}"
        return ModelReport(path, usable=False, problem=_unusable(reason))
    answer = _answer(done.stdout)
    if done.returncode != 0 or answer is None:
        reason = f"trying it failed with exit code {done.returncode}"
        return ModelReport(path, usable=False, problem=_unusable(reason))
    if "device" in answer:
        raise ModelError(str(answer["device"]))
    return ModelReport(
        path,
        usable=not answer["problem"],
        problem=answer["problem"],
        sha256=bytes.fromhex(answer["sha256"]),
        size=answer["size"],
        parameters=answer["parameters"],
        task=answer["task"],
        classes=answer["classes"],
        input_shape=tuple(answer["input_shape"]),
        signatures=tuple(answer["signatures"]),
    )


def _unusable(reason: str) -> str:
    return f"not a usable model: {reason}"


def _answer(stdout: bytes) -> dict[str, Any] | None:
    # The runtime may print too, so the line is marked; it comes last.
    _, marked, line = stdout[-_ANSWER_BYTES_MAX:].rpartition(_BEGIN)
    if not marked:
        return None
    try:
        answer = json.loads(line)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


# In the child ------------------------------------------------------------------------------------


def _lower_limits() -> None:
    for limit, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 1 << 20),
        (resource.RLIMIT_CPU, _CPU_S_MAX),
        (resource.RLIMIT_AS, _MEMORY_BYTES_MAX),
    ):
        hard = resource.getrlimit(limit)[1]
        lowest = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (lowest, lowest))


def _try_model(path: Path) -> dict[str, Any]:
    # The parent must not load a runtime in order to probe.
    from gossamer_agent.tflite import TfliteLearner, read_model, runtime  # noqa: PLC0415
    from gossamer_agent.tflite_file import check_file  # noqa: PLC0415

    found: dict[str, Any] = {
        "problem": "",
        "sha256": "",
        "size": 0,
        "parameters": 0,
        "task": "",
        "classes": 0,
        "input_shape": (),
        "signatures": (),
    }
    try:
        runtime()
    except ModelError as error:
        return {"device": str(error)}
    try:
        content = read_model(path)
        found |= {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        check_file(content)
        learner = TfliteLearner(content)
        _exercise(learner)
    except ModelError as error:
        return found | {"problem": str(error).removeprefix(f"{path}: ").removeprefix("model: ")}
    except MemoryError:
        return found | {"problem": _unusable("it asks for more memory than there is")}
    except Exception as error:
        # Names that are no UTF-8, tensors that do not exist: the runtime's own kinds of damage.
        return found | {"problem": _unusable(f"it makes the runtime raise {type(error).__name__}")}
    contract = learner.contract
    return found | {
        "parameters": contract.parameters,
        "task": contract.task,
        "classes": contract.classes,
        "input_shape": contract.input_shape,
        "signatures": learner.signatures,
    }


def _exercise(learner: TfliteLearner) -> None:
    """Another batch than the trial's, of random values and every label: it may reach further."""
    import numpy as np  # noqa: PLC0415

    from gossamer_agent.contract import REGRESSION  # noqa: PLC0415
    from gossamer_agent.learner import DivergedError, Samples, Training  # noqa: PLC0415

    contract, rng = learner.contract, np.random.default_rng(0)
    x = rng.standard_normal((_ROWS, *contract.input_shape), np.float32)
    y: Any = np.linspace(0, contract.classes - 1, _ROWS).astype(np.int32)
    if contract.task == REGRESSION:
        y = rng.standard_normal((_ROWS, contract.classes), np.float32)
    params = learner.init()
    with suppress(DivergedError):  # values that this model never meets may be too much for it
        params = learner.train(params, Samples(x, y), Training(steps=2, batch=_ROWS), rng).params
    learner.evaluate(params, Samples(x, y))


def main() -> int:
    """Probe the file named by the first argument; print one marked line of JSON."""
    _lower_limits()
    answer = json.dumps(_try_model(Path(sys.argv[1])))
    os.write(1, b"\n" + _BEGIN + answer.encode() + b"\n")
    return 0


if __name__ == "__main__":
    # A runtime that was shaken may crash while it is torn down, after all is said.
    code = main()
    os._exit(code)
