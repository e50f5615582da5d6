"""Writes tests/vectors/receipt.json: `python scripts/make_receipt_vector.py [--check]`.

The vector of docs/spec/receipt.md: a receipt of a fixed identity, the message that is signed, and
what a verifier must refuse.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from gossamer_agent.receipt import Version, sign_receipt, signed_message
from gossamer_crypto.identity import Identity
from gossamer_crypto.labels import RECEIPT

FILE = Path(__file__).resolve().parents[1] / "tests" / "vectors" / "receipt.json"
INPUT = [[0.0, 0.5, 1.0], [0.25, -1.0, 3.0]]
ANSWER = [[0.125, 0.875], [0.75, 0.25]]


def vector() -> dict[str, Any]:
    identity = Identity.from_seed(bytes(range(32)))
    version = Version(
        swarm=b"\x01" * 32,
        model=b"\x02" * 32,
        replica=b"\x03" * 32,
        personal=False,
        round=7,
        head=(1, 20, b"\x04" * 32),
    )
    x, answer = np.array(INPUT, np.float32), np.array(ANSWER, np.float32)
    receipt = sign_receipt(identity, version, x, answer, 1_760_000_000_000)
    whole = json.loads(msgspec.json.encode(receipt))
    refused = {
        "another answer": {"answer": [[0.126, 0.875], [0.75, 0.25]]},
        "another input": {"input": "00" * 32},
        "another round": {"round": 8},
        "no head": {"head": None},
        "a personal part": {"personal": True},
        "another time": {"time_ms": whole["time_ms"] + 1},
        "another signature": {"signature": "00" * 64},
    }
    return {
        "label": RECEIPT.hex(),
        "seed": bytes(range(32)).hex(),
        "x": INPUT,
        "message": signed_message(receipt).hex(),
        "receipt": whole,
        "refused": {name: whole | change for name, change in refused.items()},
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only compare with the file")
    text = json.dumps(vector(), indent=1) + "\n"
    if parser.parse_args().check:
        return int(FILE.read_text(encoding="utf-8") != text)
    FILE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
