"""What an entry says, for whoever holds the swarm's key.

The kinds that this version knows are told in words. All bodies are flat MessagePack arrays of
numbers, short strings and byte strings, so others can be shown without knowing their format.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgpack

from gossamer_agent.ban import BanRecord
from gossamer_agent.cli.failures import printable
from gossamer_agent.errors import StoreError
from gossamer_agent.forks import told_of
from gossamer_agent.owner import ConfigurationRecord, LabelRecord
from gossamer_agent.records import MergeRecord, StandingRecord
from gossamer_agent.reputation import Standing
from gossamer_crypto.envelope import Envelope, Kind, open_envelope
from gossamer_crypto.epoch import SECRET_BYTES
from gossamer_crypto.errors import EnvelopeError, PeerError
from gossamer_crypto.genesis import Genesis
from gossamer_crypto.identity import peer_id_text
from gossamer_transport import flat
from gossamer_transport.codec import Codec

KEY_FILE_NAME = "epoch.key"
_CHANGES = {
    Standing.ADMITTED: "readmitted",
    Standing.QUARANTINED: "quarantined",
    Standing.BANNED: "banned",
}
_FIELDS_MAX = 64
_TEXT_BYTES_MAX = 64


class Opener:
    """Opens entries with the secrets of epochs; none ever appears in a repr."""

    def __init__(self, secret_of: Callable[[int], bytes | None]) -> None:
        self.secret_of = secret_of

    def summary(self, envelope: Envelope) -> str:
        """Return one line about the body, whatever the bytes are."""
        secret = self.secret_of(envelope.header.epoch)
        if secret is None:
            return f"sealed (no key for epoch {envelope.header.epoch})"
        try:
            body = open_envelope(envelope, secret)
        except EnvelopeError as error:
            return f"sealed ({error.reason})"
        try:
            return printable(_TELLERS[envelope.header.kind](body))
        except (PeerError, ValueError, IndexError):
            return describe(body)


def opener_beside(database: Path) -> Opener | None:
    """Return an opener if a key file lies beside the log. Raises StoreError if it is no key."""
    try:
        return opener_from(database.with_name(KEY_FILE_NAME))
    except StoreError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise


def opener_from(path: Path) -> Opener:
    """Return what opens entries with the secret in a key file. Raises StoreError."""
    try:
        with path.open("rb") as file:
            secret = file.read(SECRET_BYTES + 1)
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}") from error
    if len(secret) != SECRET_BYTES:
        raise StoreError(f"{path}: not a key; it must be {SECRET_BYTES} bytes long")
    return Opener(lambda _: secret)


def _start(body: bytes) -> str:
    genesis = Genesis.unpack(body)
    return f"swarm {genesis.name!a}, id {genesis.swarm_id.hex()[:16]}"


def _merge(body: bytes) -> str:
    record = MergeRecord.unpack(body)
    outcome = "committed" if record.committed else "not committed"
    losses = f"loss {record.loss_before:.3f} -> {record.loss_after:.3f}"
    inputs = len(record.contributors)
    return f"round {record.round}: {record.rule} of {inputs} inputs, {losses}, {outcome}"


def _standing(body: bytes) -> str:
    record = StandingRecord.unpack(body)
    change = _CHANGES[record.standing]
    peer = peer_id_text(record.peer)
    return f"round {record.round}: {peer} {change}, {record.reason}, score {record.score:.2f}"


def _coded(body: bytes) -> str:
    fields = flat.unpack(body, fields_max=8, bin_bytes_max=len(body))
    codec, round_, step = (int(field) for field in fields[1:4])
    return f"round {round_}: step {step}, {Codec(codec).name.lower()}"


def _configuration(body: bytes) -> str:
    record = ConfigurationRecord.unpack(body)
    what = ", ".join(record.changed.splitlines()) or "nothing but the program, or only defaults"
    return f"round {record.round}: gossamer {record.program}, {record.digest.hex()[:16]}: {what}"


def _label(body: bytes) -> str:
    record = LabelRecord.unpack(body)
    return f"round {record.round}: {record.name!r} is model {record.model.hex()[:16]}"


def _ban(body: bytes) -> str:
    record = BanRecord.unpack(body)
    try:
        record.proof.verify()
    except PeerError as error:
        return f"round {record.round}: {peer_id_text(record.peer)} banned, without proof: {error}"
    said = told_of(record.proof)
    return f"round {record.round}: {peer_id_text(record.peer)} banned for good, {said}"


_TELLERS: dict[Kind, Callable[[bytes], str]] = {
    Kind.START: _start,
    Kind.MERGE: _merge,
    Kind.STANDING: _standing,
    Kind.BAN: _ban,
    Kind.DELTA: _coded,
    Kind.KEYFRAME: _coded,
    Kind.CONFIGURATION: _configuration,
    Kind.LABEL: _label,
}


def describe(body: bytes) -> str:
    """Return a body's fields in order: numbers and text as such, byte strings by their length."""
    size = len(body)
    try:
        fields = msgpack.unpackb(
            body,
            max_array_len=_FIELDS_MAX,
            max_map_len=0,
            max_ext_len=0,
            max_str_len=_TEXT_BYTES_MAX,
            max_bin_len=size,
        )
    # Bodies are written by peers: any failure to decode is the same answer.
    except (ValueError, msgpack.UnpackException):
        return f"{size} bytes"
    if not isinstance(fields, list):
        return f"{size} bytes"
    return " ".join(_field(field) for field in fields)


def _field(field: object) -> str:
    if isinstance(field, bytes):
        return f"<{len(field)} bytes>"
    if isinstance(field, str):
        return ascii(field)
    return str(field) if isinstance(field, int | float) else f"<{type(field).__name__}>"
