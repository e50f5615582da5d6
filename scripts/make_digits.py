"""Make simulator/gossamer_simulator/data/digits.npz from the copy that scikit-learn carries.

    pip install scikit-learn
    python scripts/make_digits.py            # write the file
    python scripts/make_digits.py --check    # compare its arrays with the shipped file

Only this script needs scikit-learn. Pixels are whole numbers 0..16, so uint8 loses nothing.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

TARGET = Path(__file__).parents[1] / "simulator" / "gossamer_simulator" / "data" / "digits.npz"


def make_digits() -> dict[str, np.ndarray]:
    """Arrays x uint8[1797, 64] with values 0..16 and y uint8[1797], in the original order."""
    from sklearn.datasets import load_digits  # noqa: PLC0415  (only needed here, not installed)

    bunch = load_digits()
    x = bunch.data.astype(np.uint8)
    assert np.array_equal(x, bunch.data)
    return {"x": x, "y": bunch.target.astype(np.uint8)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the shipped file")
    arguments = parser.parse_args()
    made = make_digits()
    if arguments.check:
        with np.load(TARGET, allow_pickle=False) as shipped:
            same = sorted(shipped.files) == sorted(made) and all(
                shipped[key].dtype == made[key].dtype and np.array_equal(shipped[key], made[key])
                for key in made
            )
        print("digits.npz is up to date" if same else "digits.npz differs")
        return 0 if same else 1
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(TARGET, **made)
    print(f"{TARGET.name}: {TARGET.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
