"""The profile's `threads`: how many OpenMP and MKL may use, for learners of the owner's own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gossamer_agent.device.folder import Device

VARIABLES: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def limit_threads(device: Device) -> None:
    """Bound the threads of such libraries, unless the environment does. Raises ConfigError.

    Call it before one is loaded, as they read the environment once. The BLAS of numpy (see `main`)
    and the TFLite runtime always have one thread: more of them make small models slower, on a busy
    machine a thousand times.
    """
    from gossamer_agent.profile import load_profile  # noqa: PLC0415

    threads = str(load_profile(device.profile).threads)
    for variable in VARIABLES:
        os.environ.setdefault(variable, threads)
