"""Files of weights: one flat float32 vector, as .npz, .npy or bare values."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from gossamer_agent.contract import PARAMETERS_MAX
from gossamer_agent.errors import ModelError
from gossamer_agent.learner import Vector, is_finite

RAW_SUFFIX: Final = ".tflite-weights"
NAMES: Final = ("weights", "params")
"""Names under which an .npz holds the vector."""
_BYTES_MAX: Final = PARAMETERS_MAX * 8 + (1 << 16)


def read_weights(path: Path) -> Vector:
    """The vector in the file, float32 [P], finite.

    .npz: the array `weights` or `params`, or the only one; .npy: the array; .tflite-weights: bare
    float32 values, little-endian, as `gossamer log replay` writes them. Raises ModelError.
    """
    try:
        raw = _read(path)
    except ModelError:
        raise
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file") from None
    except MemoryError:
        raise ModelError(f"{path}: does not fit into memory") from None
    except Exception as error:
        # NumPy, zipfile and zlib raise a dozen types on a damaged file; each means the same here.
        raise ModelError(f"{path}: cannot be read as weights ({type(error).__name__})") from None
    if raw.dtype.kind != "f" or raw.ndim != 1 or not 1 <= raw.size <= PARAMETERS_MAX:
        raise ModelError(f"{path}: holds {raw.dtype} {raw.shape}; weights are one vector of floats")
    with np.errstate(over="ignore"):
        weights = np.ascontiguousarray(raw, dtype=np.float32)
    if not is_finite(weights):
        raise ModelError(f"{path}: holds a value that is not a finite float32")
    return weights


def _read(path: Path) -> npt.NDArray[Any]:
    if path.stat().st_size > _BYTES_MAX:
        raise ModelError(f"{path}: too large for weights")
    if path.suffix == RAW_SUFFIX:
        return np.frombuffer(path.read_bytes(), "<f4")
    if not zipfile.is_zipfile(path):
        # A header may promise more than the file has; mapping reads nothing that is not there.
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    with zipfile.ZipFile(path) as archive:
        names = [member.removesuffix(".npy") for member in archive.namelist()]
        name = next((known for known in NAMES if known in names), names[0] if names else "")
        if name not in NAMES and len(names) != 1:
            raise ModelError(f"{path}: has no array {' or '.join(NAMES)}")
        if archive.getinfo(f"{name}.npy").file_size > _BYTES_MAX:
            raise ModelError(f"{path}: too large for weights")
    with np.load(path, allow_pickle=False) as arrays:
        return np.asarray(arrays[name])
