"""Every rule computes the same bits on every machine."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gossamer_agent.merge.gossamer import gossamer
from gossamer_agent.merge.result import Merged
from gossamer_agent.merge.rules import get_rule, rule_names
from gossamer_agent.merge.setting import Setting

WEIGHTED = tuple(name for name in rule_names() if name.startswith("weighted-median:"))
NAMES = tuple(
    name for name in rule_names() if name not in ("gossamer", *WEIGHTED)
)  # these have their own


def arrays_of(merged: Merged) -> list[bytes]:
    arrays = (merged.vector, merged.votes, merged.clip, merged.distances)
    return [array.astype(array.dtype.newbyteorder("<")).tobytes() for array in arrays]


def of_the_literature() -> str:
    return hash_of(NAMES)


def of_the_weighted() -> str:
    return hash_of(WEIGHTED)


def hash_of(names: tuple[str, ...]) -> str:
    """A hash over many merges. Inputs are multiples of a power of two: no libm, no rounding."""
    rng = np.random.default_rng(6)
    digest = hashlib.sha256()
    for size in (1, 300, 20_000):
        for case in range(3):
            rows = ((rng.integers(-(2**20), 2**20, (9, size)) + 2**20) * 2.0**-22).astype("<f4")
            if case == 1:
                noise = rng.integers(-(2**10), 2**10, (3, size)) * 2.0**-20
                rows[1:4] = rows[0] + noise.astype("<f4")
            elif case == 2:
                rows[5] *= 1000
            setting = Setting(own=4, round=3, loss_of=lambda row: abs(float(row[0]) - 0.25))
            for name in names:
                merged = get_rule(name).merge(list(rows), setting)
                for array in arrays_of(merged):
                    digest.update(array)
    return digest.hexdigest()


def of_gossamer() -> str:
    """A hash over many merges. Inputs are multiples of a power of two: no libm, no rounding."""
    rng = np.random.default_rng(5)
    digest = hashlib.sha256()
    for size in (1, 300, 4810, 40_000):
        initial = (rng.integers(-(2**20), 2**20, size) * 2.0**-20).astype(np.float32)
        for case in range(4):
            rows = (rng.integers(-(2**20), 2**20, (9, size)) * 2.0**-22).astype(np.float32)
            if case == 1:
                noise = rng.integers(-(2**10), 2**10, (3, size)) * 2.0**-20
                rows[1:4] = rows[0] + noise.astype(np.float32)
            elif case == 2:
                rows[5] *= 1000
            elif case == 3:
                rows[2:5] += initial / 4
            settings_ = (
                Setting(own=0),
                Setting(own=4, initial=initial),
                Setting(own=4, initial=initial, groups=((0, 1, 2, 3), (3, 5, 8))),
            )
            for setting in settings_:
                for array in arrays_of(gossamer(rows, setting)):
                    digest.update(array)
    return digest.hexdigest()


FINGERPRINTS = {
    of_the_literature: "dc3395f19c04ab9ea2ba649ffd7c80c2e84b08eebd512a3b316af6594e644f23",
    of_the_weighted: "c9a5026de93aebb5affe1958ad087fd3adfa9a57644362ee04227b3ec1e9c7fd",
    of_gossamer: "e57994dde1e3102c3d8d74fc78374a083c6888d1531232fc5159d53d1cc0d900",
}
BLAS_CORES = {"x86_64": ("Prescott", "Haswell"), "aarch64": ("CORTEXA53", "NEOVERSEN1")}

each = pytest.mark.parametrize("fingerprint", FINGERPRINTS, ids=lambda f: f.__name__)


@each
def test_every_machine_computes_the_same_bits(fingerprint: Callable[[], str]) -> None:
    assert fingerprint() == FINGERPRINTS[fingerprint]


@pytest.mark.slow
@each
@pytest.mark.parametrize("core", BLAS_CORES.get(platform.machine(), ()))
def test_other_blas_kernels_compute_the_same_bits(
    core: str, fingerprint: Callable[[], str]
) -> None:
    """OpenBLAS picks its kernels, and with them the order of its sums, by CPU."""
    folder, name = str(Path(__file__).parent), fingerprint.__name__
    code = f"import sys; sys.path.insert(0, {folder!r}); "
    code += f"from test_merge_rules_bits import {name}; print({name}())"
    environment = dict(os.environ, OPENBLAS_CORETYPE=core)
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode < 0:
        pytest.skip(f"this CPU cannot run the kernels of {core}")
    assert done.stdout.strip() == FINGERPRINTS[fingerprint], done.stderr
