"""The frames of process learners: against vectors that msgpack itself packed, and against noise."""

from __future__ import annotations

import hashlib
import json
import math
import struct
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer_agent.contract import Contract
from gossamer_agent.errors import ModelError
from gossamer_agent.learner import Samples, Score, Training
from gossamer_agent.learners import frames
from gossamer_agent.learners.frames import NonsenseError, SaidError
from gossamer_agent.learners.identity import model_digest

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "process_learner.json").read_text())
CONTRACT = Contract("classification", 2, (1,), 4)
PARAMS = np.array([0.5, -1.0, 0.0, 2.0], np.float32)
DATA = Samples(np.array([[1.0], [3.0]]), np.array([0, 1]))


def request(name: str) -> bytes:
    return bytes.fromhex(VECTORS["exchanges"][name]["request"])[4:]


def answer(name: str) -> bytes:
    raw = bytes.fromhex(VECTORS["exchanges"][name]["answer"])
    assert struct.unpack(">I", raw[:4]) == (len(raw) - 4,)
    return raw[4:]


def test_requests_are_those_of_the_vectors() -> None:
    assert frames.contract_request() == request("contract")
    assert frames.init_request() == request("init")
    assert frames.infer_request(PARAMS, DATA.x) == request("infer")
    assert frames.evaluate_request(PARAMS, DATA) == request("evaluate")


def test_a_training_request_holds_every_setting_by_name() -> None:
    settings = Training(steps=8, batch=16, learning_rate=0.25, momentum=0.5)
    made = msgpack.unpackb(frames.train_request(PARAMS, DATA, settings, 7))
    wanted = msgpack.unpackb(request("train"))
    assert made[:6] == wanted[:6]
    named = dict(zip(made[6::2], made[7::2], strict=True))
    assert named.items() >= dict(zip(wanted[6::2], wanted[7::2], strict=True)).items()
    assert {"weight_decay", "proximal"} <= named.keys()


def test_answers_are_read() -> None:
    declared = frames.parse_contract(answer("contract"))
    assert (declared.name, declared.contract, declared.patience_s) == (
        "multinomial-logit",
        CONTRACT,
        300,
    )
    assert frames.parse_init(answer("init"), CONTRACT).tolist() == [0, 0, 0, 0]
    assert frames.parse_infer(answer("infer"), CONTRACT, 2).tolist() == [[-0.5, 2.0], [-2.5, 6.0]]
    trained = frames.parse_train(answer("train"), CONTRACT)
    assert (trained.params.tolist(), trained.loss) == ([0.25, -1.5, 0.25, 2.5], 0.5)
    assert frames.parse_evaluate(answer("evaluate"), 2) == Score(math.log(2), 0.5, 2)


def test_the_blind_loss_of_a_regression_is_read() -> None:
    score = frames.parse_evaluate(msgpack.packb([5, 1.5, 0.25, 4]), 9)
    assert score == Score(1.5, 0.25, 9, blind=4.0)


def test_targets_of_a_regression_travel_as_floats() -> None:
    data = Samples(np.zeros((2, 1)), np.array([[0.5], [1.5]]))
    made = msgpack.unpackb(frames.evaluate_request(PARAMS, data))
    assert made[4] == struct.pack("<2f", 0.5, 1.5)


def test_an_error_is_the_programs_own_words() -> None:
    with pytest.raises(SaidError, match=r"^no glmnet here$"):
        frames.parse_evaluate(answer("an error"), 2)


@pytest.mark.parametrize("name", VECTORS["nonsense"])
def test_nonsense_is_one_exception(name: str) -> None:
    with pytest.raises(NonsenseError):
        frames.parse_evaluate(bytes.fromhex(VECTORS["nonsense"][name]), 2)


def contract(**changes: Any) -> bytes:
    fields = {
        "kind": 1,
        "version": 1,
        "name": "m",
        "task": "classification",
        "classes": 2,
        "parameters": 4,
        "bound": 1e4,
        "patience_s": 300,
        "inputs": 1,
    }
    packed: bytes = msgpack.packb(list((fields | changes).values()))
    return packed


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"version": 2}, "speaks version 2 .* this agent 1"),
        ({"classes": 1}, "classes must be 2"),
        ({"parameters": 0}, "parameters must be 1"),
        ({"parameters": 1 << 40}, "parameters must be 1"),
        ({"task": "haiku"}, "task 'haiku' is unknown"),
        ({"bound": math.inf}, "bound must be finite"),
        ({"patience_s": 0}, "patience_s must be"),
        ({"inputs": 0}, "input dimension"),
    ],
)
def test_a_contract_out_of_range_says_what(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ModelError, match=says):
        frames.parse_contract(contract(**changes))


def test_a_contract_without_a_shape_is_nonsense() -> None:
    raw = msgpack.packb(msgpack.unpackb(contract())[:-1])
    with pytest.raises(NonsenseError, match="0 input dimensions"):
        frames.parse_contract(raw)


def test_the_model_is_hashed_as_the_specification_says() -> None:
    named, packed, first = b"multinomial-logit", CONTRACT.pack(), bytes(16)
    parts = b"".join(struct.pack(">Q", len(part)) + part for part in (named, packed, first))
    wanted = hashlib.sha256(b"gossamer/v1/learner\0" + parts).digest()
    zeros = np.zeros(4, np.float32)
    assert model_digest("multinomial-logit", CONTRACT, zeros) == wanted
    for other in (zeros + 1, zeros):
        assert model_digest("logit", CONTRACT, other) != wanted


@pytest.mark.parametrize("name", ["", "two words", "n" * 65, "µ", "line\n"])
def test_a_name_that_cannot_be_shown_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match="the name of a model"):
        model_digest(name, CONTRACT, np.zeros(4, np.float32))


@pytest.mark.parametrize("size", [0, 15, 17])
def test_arrays_have_exactly_the_length_that_the_contract_fixes(size: int) -> None:
    with pytest.raises(NonsenseError):
        frames.parse_init(msgpack.packb([2, bytes(size)]), CONTRACT)


def test_an_output_that_is_nan_is_nonsense() -> None:
    raw = msgpack.packb([3, struct.pack("<2f", 0.0, math.nan)])
    with pytest.raises(NonsenseError, match="NaN"):
        frames.parse_infer(raw, CONTRACT, 1)


def test_a_loss_that_is_nan_is_no_fault_of_the_program() -> None:
    """It was given what a peer had sent, and the merge is refused for it."""
    assert frames.parse_evaluate(msgpack.packb([5, math.nan, 0.5]), 2) == Score(math.inf, 0.5, 2)


def test_data_beyond_the_cap_are_refused_before_they_are_packed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(frames, "REQUEST_BYTES_MAX", 4100)
    with pytest.raises(ModelError, match="too much"):
        frames.infer_request(PARAMS, np.zeros((10, 1), np.float32))


@given(st.binary(max_size=200))
def test_noise_ends_in_the_exceptions_that_are_told(raw: bytes) -> None:
    for parse in (
        lambda: frames.parse_contract(raw),
        lambda: frames.parse_init(raw, CONTRACT),
        lambda: frames.parse_infer(raw, CONTRACT, 2),
        lambda: frames.parse_train(raw, CONTRACT),
        lambda: frames.parse_evaluate(raw, 2),
    ):
        with pytest.raises((NonsenseError, ModelError)):
            parse()


FIELD = st.one_of(
    st.integers(-(2**63), 2**64 - 1), st.floats(), st.text(max_size=9), st.binary(max_size=20)
)


@given(st.integers(0, 6), st.lists(FIELD, max_size=18))
def test_well_packed_noise_too(kind: int, fields: list[Any]) -> None:
    raw = msgpack.packb([kind, *fields])
    for parse in (
        lambda: frames.parse_contract(raw),
        lambda: frames.parse_train(raw, CONTRACT),
        lambda: frames.parse_evaluate(raw, 2),
    ):
        try:
            parse()
        except (NonsenseError, ModelError) as error:
            assert "\n" not in str(error)
