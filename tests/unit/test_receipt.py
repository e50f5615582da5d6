"""Receipts: the vector of the specification, what is refused, and the command that verifies."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer_agent.exit_codes import ExitCode
from gossamer_agent.receipt import (
    Receipt,
    ReceiptError,
    Version,
    pack_receipt,
    parse_receipt,
    sign_receipt,
    signed_message,
    verify_receipt,
)
from gossamer_crypto.identity import Identity

VECTOR = json.loads(
    (Path(__file__).parents[1] / "vectors" / "receipt.json").read_text(encoding="utf-8")
)
Gossamer = Callable[..., Any]


def parsed(found: dict[str, Any]) -> Receipt:
    return parse_receipt(json.dumps(found).encode())


def test_the_vector_verifies() -> None:
    receipt = parsed(VECTOR["receipt"])
    assert signed_message(receipt).hex() == VECTOR["message"]
    verify_receipt(receipt, np.array(VECTOR["x"], np.float32))


def test_the_code_still_makes_the_vector() -> None:
    version = Version(b"\x01" * 32, b"\x02" * 32, b"\x03" * 32, False, 7, (1, 20, b"\x04" * 32))
    made = sign_receipt(
        Identity.from_seed(bytes.fromhex(VECTOR["seed"])),
        version,
        np.array(VECTOR["x"], np.float32),
        np.array(VECTOR["receipt"]["answer"], np.float32),
        VECTOR["receipt"]["time_ms"],
    )
    assert json.loads(pack_receipt(made)) == VECTOR["receipt"]


@pytest.mark.parametrize("fault", VECTOR["refused"])
def test_an_altered_receipt_is_refused(fault: str) -> None:
    with pytest.raises(ReceiptError, match="does not verify"):
        verify_receipt(parsed(VECTOR["refused"][fault]))


def test_another_input_is_refused() -> None:
    with pytest.raises(ReceiptError, match="another input"):
        verify_receipt(parsed(VECTOR["receipt"]), np.zeros((2, 3), np.float32))


@pytest.mark.parametrize(
    "change",
    [
        {"device": "12D3"},
        {"device": 3},
        {"answer": [[1.0], [1.0, 2.0]]},
        {"answer": []},
        {"answer": [[1e300, 1.0]]},
        {"swarm": "zz"},
        {"round": -1},
        {"time_ms": 2**63},
        {"more": 1},
        {"head": {"incarnation": 2**32, "seq": 0, "hash": "00" * 32}},
    ],
)
def test_what_is_no_receipt_is_told(change: dict[str, Any]) -> None:
    with pytest.raises(ReceiptError):
        verify_receipt(parsed(VECTOR["receipt"] | change))


@given(raw=st.binary(max_size=100))
def test_any_bytes_are_a_receipt_or_an_error(raw: bytes) -> None:
    with pytest.raises(ReceiptError):
        parse_receipt(raw)


class TestCommand:
    def write(self, folder: Path, found: Any, name: str = "receipt.json") -> Path:
        path = folder / name
        path.write_bytes(msgspec.json.encode(found))
        return path

    def test_a_receipt_with_its_input(self, gossamer: Gossamer, tmp_path: Path) -> None:
        answer = self.write(tmp_path, {"answers": [], "receipt": VECTOR["receipt"]})
        asked = self.write(tmp_path, {"xs": VECTOR["x"]}, "asked.json")
        ran = gossamer("receipt", "verify", answer, "--input", asked)
        assert ran.code == 0, ran.err
        assert ran.out.splitlines()[-1] == "valid"
        assert VECTOR["receipt"]["device"] in ran.out

    def test_without_input_it_says_so(self, gossamer: Gossamer, tmp_path: Path) -> None:
        ran = gossamer("receipt", "verify", self.write(tmp_path, VECTOR["receipt"]), "--json")
        assert json.loads(ran.out)["input_checked"] is False

    def test_an_array_is_an_input(self, gossamer: Gossamer, tmp_path: Path) -> None:
        np.save(tmp_path / "x.npy", np.array(VECTOR["x"], np.float32))
        receipt = self.write(tmp_path, VECTOR["receipt"])
        ran = gossamer("receipt", "verify", receipt, "--input", tmp_path / "x.npy")
        assert ran.code == 0, ran.err

    @pytest.mark.parametrize("fault", ["another answer", "another signature"])
    def test_a_lie_has_exit_code_5(self, gossamer: Gossamer, tmp_path: Path, fault: str) -> None:
        ran = gossamer("receipt", "verify", self.write(tmp_path, VECTOR["refused"][fault]))
        assert ran.code == ExitCode.LOG_BROKEN
        assert "does not verify" in ran.err

    def test_another_device_or_input(self, gossamer: Gossamer, tmp_path: Path) -> None:
        receipt = self.write(tmp_path, VECTOR["receipt"])
        asked = self.write(tmp_path, {"x": [1, 2, 3]}, "asked.json")
        for options in (("--device", "12D3other"), ("--input", asked)):
            assert gossamer("receipt", "verify", receipt, *options).code == ExitCode.LOG_BROKEN

    def test_an_array_that_says_it_is_huge(self, gossamer: Gossamer, tmp_path: Path) -> None:
        np.save(tmp_path / "x.npy", np.zeros(1, np.float32))
        raw = (tmp_path / "x.npy").read_bytes()
        claimed = raw.replace(b"(1,), }" + b" " * 15, b"(10000000000000000,), }")[: len(raw)]
        assert claimed != raw
        (tmp_path / "x.npy").write_bytes(claimed)
        receipt = self.write(tmp_path, VECTOR["receipt"])
        ran = gossamer("receipt", "verify", receipt, "--input", tmp_path / "x.npy")
        assert ran.code == ExitCode.DATA
        assert ran.err.count("\n") == 1

    def test_an_input_that_is_none(self, gossamer: Gossamer, tmp_path: Path) -> None:
        receipt = self.write(tmp_path, VECTOR["receipt"])
        ran = gossamer(
            "receipt", "verify", receipt, "--input", self.write(tmp_path, "no", "x.json")
        )
        assert ran.code == ExitCode.DATA
