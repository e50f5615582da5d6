"""Author the shipped models and their golden gradients, or check that they are what this makes.

    python scripts/author_models.py            write them; needs the extra `authoring`
    python scripts/author_models.py --check    compare with what is there; exit 1 on a difference

The golden gradients come from float64 numpy, which knows nothing of the model files but the layer
sizes and the order of the parameters.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gossamer_agent.authoring import dense_net, initial, parameter_count
from gossamer_agent.errors import ModelError

ROOT = Path(__file__).resolve().parent.parent
MODELS = ROOT / "firmware-profiles" / "models"
VECTORS = ROOT / "tests" / "vectors"
LAYERS = {"softmax": (64, 10), "mlp": (64, 64, 10), "mlp-wide": (64, 400, 10)}
SEED = 0
GOLDEN_BATCH = 16
GOLDEN_CLIP = 0.75

Array = npt.NDArray[Any]


def softmax(logits: Array) -> Array:
    exps = np.exp(logits - logits.max(1, keepdims=True))
    chances: Array = exps / exps.sum(1, keepdims=True)
    return chances


def unflatten(weights: Array, layers: Sequence[int]) -> list[tuple[Array, Array]]:
    """Flat [P] -> per layer (kernel [out, in], bias [out])."""
    result, offset = [], 0
    for into, out in itertools.pairwise(layers):
        kernel, bias = np.split(weights[offset : offset + out * (into + 1)], [out * into])
        result.append((kernel.reshape(out, into), bias))
        offset += out * (into + 1)
    return result


def sample_gradients(
    weights: Array, x: Array, y: Array, layers: Sequence[int]
) -> tuple[Array, Array, Array]:
    """-> losses [n], gradient of each sample's loss [n, P], logits [n, classes]."""
    net, inputs = unflatten(weights, layers), [x]
    for kernel, bias in net[:-1]:
        inputs.append(np.maximum(inputs[-1] @ kernel.T + bias, 0))
    logits = inputs[-1] @ net[-1][0].T + net[-1][1]
    chances, rows = softmax(logits), np.arange(len(y))
    losses = -np.log(chances[rows, y])
    error = chances.copy()
    error[rows, y] -= 1
    parts: list[Array] = []
    for layer in reversed(range(len(net))):
        kernel_gradients = error[:, :, None] * inputs[layer][:, None, :]
        parts = [kernel_gradients.reshape(len(y), -1), error, *parts]
        error = (error @ net[layer][0]) * (inputs[layer] > 0)
    return losses, np.concatenate(parts, axis=1), logits


def golden(layers: Sequence[int]) -> dict[str, Array]:
    """Inputs and the right answers of every signature for one net, float32 but computed wider."""
    rng = np.random.default_rng(1)
    size = parameter_count(layers)
    weights = (initial(layers, SEED) + 0.2 * rng.random(size) - 0.1).astype(np.float32)
    x = rng.random((GOLDEN_BATCH, layers[0])).astype(np.float32)
    y = rng.integers(0, layers[-1], GOLDEN_BATCH).astype(np.int32)
    losses, gradients, logits = sample_gradients(weights.astype(float), x.astype(float), y, layers)
    norms = np.sqrt((gradients**2).sum(1))
    scaled = gradients * np.minimum(1, GOLDEN_CLIP / norms)[:, None]
    answers = {
        "logits": logits,
        "loss": losses.mean(),
        "grad": gradients.mean(0),
        "clip": GOLDEN_CLIP,
        "loss_sum": losses.sum(),
        "grad_sum": scaled.sum(0),
        "norms": norms,
    }
    narrow = {name: np.asarray(value, np.float32) for name, value in answers.items()}
    return {"weights": weights, "x": x, "y": y, **narrow}


def description(files: dict[str, bytes]) -> str:
    """models.json: what `load_learner` checks before a shipped file reaches the runtime."""
    models = {
        name: {
            "file": f"{name}.tflite",
            "sha256": hashlib.sha256(content).hexdigest(),
            "bytes": len(content),
            "layers": list(LAYERS[name]),
            "parameters": parameter_count(LAYERS[name]),
            "seed": SEED,
        }
        for name, content in files.items()
    }
    return json.dumps({"format": 1, "models": models}, indent=2) + "\n"


def differences(files: dict[str, bytes], goldens: dict[str, dict[str, Array]]) -> list[str]:
    found = [
        f"{name}.tflite"
        for name, content in files.items()
        if (MODELS / f"{name}.tflite").read_bytes() != content
    ]
    if (MODELS / "models.json").read_text() != description(files):
        found.append("models.json")
    for name, arrays in goldens.items():
        with np.load(VECTORS / f"golden_{name}.npz") as kept:
            # Long sums differ between CPUs in the last bits, so answers are compared as numbers.
            same = kept.files == list(arrays) and all(
                np.allclose(kept[key], value, rtol=1e-6, atol=1e-7) for key, value in arrays.items()
            )
        if not same:
            found.append(f"golden_{name}.npz")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="Author the shipped models.")
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    files = {name: dense_net(layers, SEED) for name, layers in LAYERS.items()}
    goldens = {name: golden(layers) for name, layers in LAYERS.items()}
    if parser.parse_args().check:
        found = differences(files, goldens)
        print(
            "differs: " + ", ".join(found) if found else "models and golden gradients are as made"
        )
        return 1 if found else 0
    MODELS.mkdir(exist_ok=True)
    for name, content in files.items():
        (MODELS / f"{name}.tflite").write_bytes(content)
        np.savez(VECTORS / f"golden_{name}.npz", **goldens[name])
        print(f"{name}: {parameter_count(LAYERS[name])} parameters, {len(content)} bytes")
    (MODELS / "models.json").write_text(description(files))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ModelError as error:
        sys.exit(f"author_models: {error}")
