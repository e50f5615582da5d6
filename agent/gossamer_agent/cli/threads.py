"""The profile's `threads`: how many numpy's linear algebra may use."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gossamer_agent.device.folder import Device

VARIABLES: Final = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def limit_threads(device: Device) -> None:
    """Bound the threads of numpy, unless the environment says something. Raises ConfigError.

    Call it before numpy is imported, which reads the environment once. The TFLite runtime always
    has one thread: more of them make small models slower, on a busy machine a thousand times.
    """
    from gossamer_agent.profile import load_profile  # noqa: PLC0415

    threads = str(load_profile(device.profile).threads)
    for variable in VARIABLES:
        os.environ.setdefault(variable, threads)
