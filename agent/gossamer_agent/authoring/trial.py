"""Ask a model file in a process of its own.

TensorFlow and a TFLite runtime carry the same C++ names. Where both are loaded into one process the
runtime takes calls to the other's code: loading any file ends with "vector::reserve", a memory
error or a signal. Whoever has imported Keras asks here instead.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import numpy as np

from gossamer_agent.authoring.layers import Floats
from gossamer_agent.errors import ModelError

TIMEOUT_S: Final = 300.0
_MODEL: Final = "model.tflite"
_ASKED: Final = "x.npy"
_ANSWERED: Final = "logits.npy"
_REFUSED: Final = 3


def answers_of(content: bytes, x: Floats) -> Floats:
    """What the file says with its first parameters to x float32 [n, ...]: float32 [n, outputs].

    Raises ModelError if it cannot be trained here, with the reason.
    """
    with tempfile.TemporaryDirectory(prefix="gossamer-") as name:
        folder = Path(name)
        (folder / _MODEL).write_bytes(content)
        np.save(folder / _ASKED, x)
        try:
            done = subprocess.run(  # noqa: S603 - this interpreter, this module, no shell
                [sys.executable, "-P", "-m", __name__, name],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ModelError(f"the new file cannot be tried: {error}") from None
        if done.returncode == _REFUSED:
            raise ModelError(done.stdout.decode("utf-8", "replace").strip())
        if done.returncode:
            raise ModelError(f"trying the new file ended with exit code {done.returncode}")
        answered: Floats = np.load(folder / _ANSWERED)
        return answered


def main() -> int:
    """In the child. argv[1]: the folder."""
    from gossamer_agent.tflite import TfliteLearner  # noqa: PLC0415  loads the runtime

    folder = Path(sys.argv[1])
    try:
        learner = TfliteLearner((folder / _MODEL).read_bytes())
        answered = learner.infer(learner.init(), np.load(folder / _ASKED))
    except ModelError as error:
        sys.stdout.write(str(error))
        return _REFUSED
    np.save(folder / _ANSWERED, answered)
    return 0


if __name__ == "__main__":
    sys.exit(main())
