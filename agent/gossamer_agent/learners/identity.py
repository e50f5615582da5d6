"""What peers must agree on when a model is no file: a name, the contract, the first parameters.

Their code is not hashed: a learner in R and one in Python are the same model if they share these.
"""

from __future__ import annotations

import hashlib
import re
import struct
from typing import Final

import numpy as np

from gossamer_agent.contract import Contract
from gossamer_agent.errors import ModelError
from gossamer_agent.learner import DivergedError, Vector, check_params, is_finite

_LABEL: Final = b"gossamer/v1/learner\0"
_NAME: Final = re.compile(r"[\x21-\x7e]{1,64}")


def model_digest(name: str, contract: Contract, initial: Vector) -> bytes:
    """SHA-256 that stands in the genesis where a model file's would, 32 bytes.

    name: 1..64 printable ASCII characters without spaces; initial: float32 [P], finite. The first
    parameters are part of it because every replica of a swarm starts from them: peers that begin
    with others are told so when they join. Raises ModelError.
    """
    if _NAME.fullmatch(name) is None:
        raise ModelError(
            f"the name of a model is 1 to 64 printable ASCII characters, not {name!r:.80}"
        )
    check_params(contract, initial)
    digest = hashlib.sha256(_LABEL)
    for part in (name.encode("ascii"), contract.pack(), initial.astype("<f4").tobytes()):
        digest.update(struct.pack(">Q", len(part)))
        digest.update(part)
    return digest.digest()


def check_trained(params: Vector, bound: float) -> None:
    """Raise DivergedError unless float32 [P] may be published: finite and within the bound."""
    if not (is_finite(params) and float(np.abs(params).max()) <= bound):
        raise DivergedError(
            f"training left the bound of {bound:g} on parameters; make its steps smaller"
        )
