"""Train the backbone of the shipped model `transfer`: the shipped CNN on the digits 0 to 4 alone.

    python scripts/train_backbone.py            train and write scripts/backbones/digits_0_to_4.npz

Float64 numpy; the last bits depend on the machine, so the file is kept and this is not run again
without need. A swarm that learns a new head on it for all ten digits shows what transfer learning
gives: half of the classes were never seen by the convolutions.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.numpy_nets import NumpyNet, sgd
from scripts.shipped_models import BACKBONE, BACKBONE_CLASSES, _cnn_steps, backbone

from gossamer_simulator.datasets import load_dataset

STEPS = 1200
BATCH = 32
RATE = 0.1


def main() -> int:
    data = load_dataset("digits", np.random.default_rng(0))
    seen, judged = data.y < BACKBONE_CLASSES, data.test.y < BACKBONE_CLASSES
    net = NumpyNet(_cnn_steps(BACKBONE_CLASSES), (8, 8, 1))
    weights = sgd(
        net,
        backbone().initial(0),
        data.x[seen],
        data.y[seen],
        steps=STEPS,
        batch=BATCH,
        rate=RATE,
        rng=np.random.default_rng(1),
    )
    hits = net.outputs(weights, data.test.x[judged]).argmax(1) == data.test.y[judged]
    BACKBONE.parent.mkdir(exist_ok=True)
    np.savez(BACKBONE, weights=weights.astype(np.float32))
    print(f"{BACKBONE.name}: {len(weights)} parameters, {hits.mean():.3f} on test rows of 0 to 4")
    return 0


if __name__ == "__main__":
    sys.exit(main())
