"""Inference receipts: a device's signed word on what it answered, to what, and with which model.

Pure. docs/spec/receipt.md is the definition. A receipt is a JSON object that a program can keep;
what is signed is a binary message of fixed length that the fields of the object make.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from gossamer_agent.errors import AgentError
from gossamer_agent.exit_codes import ExitCode
from gossamer_crypto.errors import PeerError
from gossamer_crypto.identity import Identity, parse_peer_id, peer_id_text, verify
from gossamer_crypto.labels import RECEIPT

FORMAT: Final = "gossamer receipt 1"
RECEIPT_BYTES_MAX: Final = 64 << 20
_VERSION: Final = 1
_PERSONAL, _HEAD = 1, 2
_MESSAGE: Final = struct.Struct(">BB32s32s32s32sQIQ32sQ32s32s")
_I63_MAX: Final = 2**63 - 1

_Hash = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
_Count = Annotated[int, msgspec.Meta(ge=0, le=_I63_MAX)]
_U32 = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]


class ReceiptError(AgentError):
    """A receipt does not hold."""

    exit_code = ExitCode.LOG_BROKEN


class HeadPlace(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The newest entry of the device's feed when this model first answered."""

    incarnation: _U32
    seq: _Count
    hash: _Hash


class Receipt(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The object. device: a peer id; swarm, model, replica, input, answer_hash: SHA-256 as hex;
    round: of the device; personal: the device answered with a personal part of its own, of which
    `replica` says nothing; time_ms: since 1970 by the device's clock; answer: float32 [n, outputs];
    signature: hex.
    """

    format: Literal["gossamer receipt 1"] = FORMAT
    device: Annotated[str, msgspec.Meta(max_length=128)]
    swarm: _Hash
    model: _Hash
    replica: _Hash
    personal: bool
    round: _Count
    head: HeadPlace | None
    time_ms: _Count
    input: _Hash
    answer: list[list[float]]
    signature: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{128}$")]


@dataclass(frozen=True, slots=True)
class Version:
    """What answered. model, replica: 32 bytes; head: incarnation, seq and hash of 32 bytes."""

    swarm: bytes
    model: bytes
    replica: bytes
    personal: bool
    round: int
    head: tuple[int, int, bytes] | None


def array_hash(array: npt.NDArray[Any]) -> bytes:
    """SHA-256 of the number of dimensions, the dimensions and the float32 values, 32 bytes."""
    head = struct.pack(f">B{array.ndim}I", array.ndim, *array.shape)
    return hashlib.sha256(head + np.ascontiguousarray(array, "<f4").tobytes()).digest()


def sign_receipt(
    identity: Identity,
    version: Version,
    x: npt.NDArray[np.float32],
    answer: npt.NDArray[np.float32],
    time_ms: int,
) -> Receipt:
    """A receipt for `answer` float32 [n, outputs] to x float32 [n, ...]."""
    head = version.head
    receipt = Receipt(
        device=peer_id_text(identity.peer_id),
        swarm=version.swarm.hex(),
        model=version.model.hex(),
        replica=version.replica.hex(),
        personal=version.personal,
        round=version.round,
        head=None
        if head is None
        else HeadPlace(incarnation=head[0], seq=head[1], hash=head[2].hex()),
        time_ms=time_ms,
        input=array_hash(x).hex(),
        answer=answer.astype(np.float32).tolist(),
        signature="",
    )
    receipt.signature = identity.sign(RECEIPT, signed_message(receipt)).hex()
    return receipt


def signed_message(receipt: Receipt) -> bytes:
    """What the signature is over, after the label: 254 bytes. Raises ReceiptError."""
    try:
        device = parse_peer_id(receipt.device)
    except (PeerError, ValueError) as error:
        raise ReceiptError(f"device: is no peer id ({error})") from None
    head = receipt.head
    flags = _PERSONAL * receipt.personal | _HEAD * (head is not None)
    return _MESSAGE.pack(
        _VERSION,
        flags,
        bytes.fromhex(receipt.swarm),
        bytes(device),
        bytes.fromhex(receipt.model),
        bytes.fromhex(receipt.replica),
        receipt.round,
        0 if head is None else head.incarnation,
        0 if head is None else head.seq,
        bytes(32) if head is None else bytes.fromhex(head.hash),
        receipt.time_ms,
        bytes.fromhex(receipt.input),
        array_hash(_answer(receipt)),
    )


def pack_receipt(receipt: Receipt) -> bytes:
    """One line of JSON."""
    return msgspec.json.encode(receipt)


def parse_receipt(raw: bytes) -> Receipt:
    """The receipt in JSON, or in the answer of the local API that carries it. Not yet verified.

    Raises ReceiptError.
    """
    if len(raw) > RECEIPT_BYTES_MAX:
        raise ReceiptError(f"is larger than {RECEIPT_BYTES_MAX >> 20} MiB")
    try:
        wrapped = msgspec.json.decode(raw, type=_Wrapped)
        inner = raw if wrapped.receipt is msgspec.UNSET else bytes(wrapped.receipt)
        return msgspec.json.decode(inner, type=Receipt)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise ReceiptError(f"is no receipt ({error})") from None


def verify_receipt(receipt: Receipt, x: npt.NDArray[np.float32] | None = None) -> None:
    """Raise ReceiptError unless the device signed this answer, and, if given, to this input."""
    message = signed_message(receipt)
    try:
        verify(parse_peer_id(receipt.device), RECEIPT, message, bytes.fromhex(receipt.signature))
    except (PeerError, ValueError):
        raise ReceiptError(
            "the signature does not verify: something was altered, or another device signed"
        ) from None
    if x is not None and array_hash(x).hex() != receipt.input:
        raise ReceiptError("is for another input")


class _Wrapped(msgspec.Struct):
    receipt: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


def _answer(receipt: Receipt) -> npt.NDArray[np.float32]:
    with np.errstate(over="ignore"):
        try:
            answer = np.array(receipt.answer, np.float32)
        except ValueError:
            raise ReceiptError("answer: its rows have different lengths") from None
    if answer.ndim != 2 or not np.isfinite(answer).all():
        raise ReceiptError("answer: is no table of finite numbers")
    return answer
