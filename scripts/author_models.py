"""Author the shipped models and their golden gradients, or check that they are what this makes.

    python scripts/author_models.py            write them; needs the extra `authoring`
    python scripts/author_models.py --check    compare with what is there; exit 1 on a difference

The golden gradients come from float64 numpy (scripts/numpy_nets.py), which knows nothing of the
model files but the layers' sizes and the order of the parameters.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.shipped_models import SHIPPED, Shipped

from gossamer_agent.contract import REGRESSION
from gossamer_agent.errors import ModelError

ROOT = Path(__file__).resolve().parent.parent
MODELS = ROOT / "firmware-profiles" / "models"
VECTORS = ROOT / "tests" / "vectors"
SEED = 0
GOLDEN_BATCH = 16
GOLDEN_CLIP = 0.75

Array = npt.NDArray[Any]


def author(made: Shipped) -> bytes:
    return made.net.file(made.net.initial(SEED), described=made.described)


def golden(made: Shipped) -> dict[str, Array]:
    """Inputs and the right answers of every signature for one net, float32 but computed wider."""
    net, rng = made.net, np.random.default_rng(1)
    weights = (net.initial(SEED) + 0.2 * rng.random(net.size) - 0.1).astype(np.float32)
    x = rng.random((GOLDEN_BATCH, *net.input_shape)).astype(np.float32)
    if net.task == REGRESSION:
        y = rng.random((GOLDEN_BATCH, net.outputs)).astype(np.float32)
    else:
        y = rng.integers(0, net.outputs, GOLDEN_BATCH).astype(np.int32)
    wide = weights.astype(float)
    loss, gradient, logits = made.oracle.loss_grad(wide, x, y)
    answers = {"logits": logits, "loss": loss, "grad": gradient}
    if net.has_dense_gradients:
        singles = [
            made.oracle.loss_grad(wide, x[row : row + 1], y[row : row + 1])
            for row in range(GOLDEN_BATCH)
        ]
        gradients = np.stack([single[1] for single in singles])
        norms = np.sqrt((gradients**2).sum(1))
        answers |= {
            "clip": GOLDEN_CLIP,
            "loss_sum": sum(single[0] for single in singles),
            "grad_sum": (gradients * np.minimum(1, GOLDEN_CLIP / norms)[:, None]).sum(0),
            "norms": norms,
        }
    narrow = {name: np.asarray(value, np.float32) for name, value in answers.items()}
    return {"weights": weights, "x": x, "y": y, **narrow}


def entry(name: str, made: Shipped, content: bytes) -> dict[str, Any]:
    """What `load_learner` checks before a shipped file reaches the runtime, and the layers."""
    net = made.net
    return {
        "file": f"{name}.tflite",
        "about": made.about,
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "parameters": net.size,
        "task": net.task,
        "classes": net.outputs,
        "input_shape": list(net.input_shape),
        "layers": [list(layer) for layer in net.layers()],
        "seed": SEED,
    }


def description(made: dict[str, Shipped], files: dict[str, bytes]) -> str:
    """models.json, with one line for each layer."""
    table = {name: entry(name, made[name], content) for name, content in files.items()}
    lines = ["{", '  "format": 1,', '  "models": {']
    for number, (name, row) in enumerate(table.items(), 1):
        lines.append(f"    {json.dumps(name)}: {{")
        plain = {key: value for key, value in row.items() if key != "layers"}
        lines += [f"      {json.dumps(key)}: {json.dumps(value)}," for key, value in plain.items()]
        layers = ",\n".join(f"        {json.dumps(layer)}" for layer in row["layers"])
        lines.append(f'      "layers": [\n{layers}\n      ]')
        lines.append("    }" + ("," if number < len(table) else ""))
    return "\n".join([*lines, "  }", "}"]) + "\n"


def differences(made: dict[str, Shipped]) -> list[str]:
    """Names of what is not as it would be made now."""
    files = {name: author(one) for name, one in made.items()}
    found = [
        f"{name}.tflite"
        for name, content in files.items()
        if not (MODELS / f"{name}.tflite").is_file()
        or (MODELS / f"{name}.tflite").read_bytes() != content
    ]
    if (MODELS / "models.json").read_text() != description(made, files):
        found.append("models.json")
    return found + [f"golden_{name}.npz" for name, one in made.items() if not _is_kept(name, one)]


def _is_kept(name: str, made: Shipped) -> bool:
    """Long sums differ between CPUs in the last bits, so answers are compared as numbers."""
    path, arrays = VECTORS / f"golden_{name}.npz", golden(made)
    if not path.is_file():
        return False
    with np.load(path) as kept:
        return kept.files == list(arrays) and all(
            np.allclose(kept[key], value, rtol=1e-6, atol=1e-7) for key, value in arrays.items()
        )


def main() -> int:
    parser = argparse.ArgumentParser(description="Author the shipped models.")
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    checking = parser.parse_args().check
    made = {name: make() for name, make in SHIPPED.items()}
    if checking:
        found = differences(made)
        print(
            "differs: " + ", ".join(found) if found else "models and golden gradients are as made"
        )
        return 1 if found else 0
    MODELS.mkdir(exist_ok=True)
    files = {name: author(one) for name, one in made.items()}
    for name, content in files.items():
        (MODELS / f"{name}.tflite").write_bytes(content)
        if not _is_kept(name, made[name]):
            np.savez_compressed(VECTORS / f"golden_{name}.npz", **golden(made[name]))
        print(f"{name}: {made[name].net.size} parameters, {len(content)} bytes")
    (MODELS / "models.json").write_text(description(made, files))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ModelError as error:
        sys.exit(f"author_models: {error}")
