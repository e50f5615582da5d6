"""Writes tests/vectors/process_learner.json: frames between an agent and a learner process.

    python scripts/make_process_vectors.py

The model is the smallest multinomial one: one input, two classes, four parameters. Requests and
answers are packed by msgpack itself, not by the code that they test. The same program writes the
same file.
"""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

import msgpack

FILE = Path(__file__).parents[1] / "tests" / "vectors" / "process_learner.json"

PARAMS = struct.pack("<4f", 0.5, -1.0, 0.0, 2.0)
X = struct.pack("<2f", 1.0, 3.0)
Y = struct.pack("<2i", 0, 1)
OUTPUTS = struct.pack("<4f", -0.5, 2.0, -2.5, 6.0)
TRAINED = struct.pack("<4f", 0.25, -1.5, 0.25, 2.5)
SEED = 7
SETTINGS = ("steps", 8, "batch", 16, "learning_rate", 0.25, "momentum", 0.5)

EXCHANGES = {
    "contract": (
        [1, 1],
        [1, 1, "multinomial-logit", "classification", 2, 4, 10000.0, 300, 1],
    ),
    "init": ([2], [2, bytes(16)]),
    "infer": ([3, PARAMS, 2, X], [3, OUTPUTS]),
    "train": ([4, PARAMS, 2, X, Y, SEED, *SETTINGS], [4, TRAINED, 0.5]),
    "evaluate": ([5, PARAMS, 2, X, Y], [5, math.log(2), 0.5]),
    "an error": ([5, PARAMS, 2, X, Y], [0, "no glmnet here"]),
}
NONSENSE = {
    "nothing": b"",
    "no array": msgpack.packb({"loss": 1}),
    "another kind": msgpack.packb([4, 0.5, 0.5]),
    "a field too few": msgpack.packb([5, 0.5]),
    "fields too many": msgpack.packb([5, 0.5, 0.5, 0.5, 0.5]),
    "an array in an array": msgpack.packb([5, [0.5], 0.5]),
    "an accuracy that is NaN": msgpack.packb([5, 0.5, math.nan]),
    "an accuracy above 1": msgpack.packb([5, 0.5, 1.5]),
    "bytes after the array": msgpack.packb([5, 0.5, 0.5]) + b"\xc0",
    "cut off": msgpack.packb([5, 0.5, 0.5])[:-1],
    "a text for a number": msgpack.packb([5, "0.5", 0.5]),
    "a truth value": msgpack.packb([5, True, 0.5]),
}
"""None of these is an answer to `evaluate`."""


def main() -> None:
    vectors = {
        "exchanges": {
            name: {"request": frame(request), "answer": frame(answer)}
            for name, (request, answer) in EXCHANGES.items()
        },
        "nonsense": {name: raw.hex() for name, raw in NONSENSE.items()},
    }
    FILE.write_text(json.dumps(vectors, indent=1) + "\n", encoding="utf-8")
    print(FILE)


def frame(fields: list[object]) -> str:
    """As it is on the pipe: the length, then the array."""
    packed = msgpack.packb(fields)
    return (struct.pack(">I", len(packed)) + packed).hex()


if __name__ == "__main__":
    main()
