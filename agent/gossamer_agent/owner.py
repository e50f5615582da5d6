"""Bodies of the entries about what the owner of a device did: settings, and names for models.

Flat msgpack arrays, for the owner and auditors (docs/spec/records.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias, TypeVar

import msgspec

from gossamer_crypto.errors import FeedError, Reason

NAME_CHARS_MAX = 64
TEXT_CHARS_MAX = 16 * 1024
NONCE_BYTES = 16
_BODY_BYTES_MAX = 256 * 1024
_HASH_BYTES = 32

_Fields = TypeVar("_Fields")
_Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]
_Name: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_CHARS_MAX)]
_Text: TypeAlias = Annotated[str, msgspec.Meta(max_length=TEXT_CHARS_MAX)]
_Hash: TypeAlias = Annotated[bytes, msgspec.Meta(min_length=_HASH_BYTES, max_length=_HASH_BYTES)]
_Nonce: TypeAlias = Annotated[bytes, msgspec.Meta(min_length=NONCE_BYTES, max_length=NONCE_BYTES)]
_CONFIGURATION = msgspec.msgpack.Decoder(tuple[Literal[1], _Count, _Name, _Hash, _Text, _Text])
_LABEL = msgspec.msgpack.Decoder(tuple[Literal[1], _Count, _Nonce, _Hash, _Name])


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationRecord:
    """The device works with these settings from here on.

    round: own round before which they took effect. program: its version. digest: SHA-256 of all
    settings that are not defaults (`device.told`). settings: those that may be told, a line each.
    changed: what is not as in the configuration entry before, a line each; all of it if this is the
    first one.
    """

    round: int
    program: str
    digest: bytes
    settings: str
    changed: str

    def pack(self) -> bytes:
        told = (self.settings[:TEXT_CHARS_MAX], self.changed[:TEXT_CHARS_MAX])
        program = self.program[:NAME_CHARS_MAX]
        return msgspec.msgpack.encode((1, self.round, program, self.digest, *told))

    @classmethod
    def unpack(cls, raw: bytes) -> ConfigurationRecord:
        """FeedError if the bytes are anything else than a configuration record."""
        _, round_, program, digest, settings, changed = _decode(_CONFIGURATION, raw)
        return cls(round=round_, program=program, digest=digest, settings=settings, changed=changed)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRecord:
    """The owner gave the model that the device serves a name.

    round: own round that had ended. nonce: 16 bytes that tell two labels of one name apart. model:
    SHA-256 of the parameters; of a committed merge it is the hash of its result.
    """

    round: int
    nonce: bytes
    model: bytes
    name: str

    def pack(self) -> bytes:
        return msgspec.msgpack.encode((1, self.round, self.nonce, self.model, self.name))

    @classmethod
    def unpack(cls, raw: bytes) -> LabelRecord:
        """FeedError if the bytes are anything else than a label record."""
        _, round_, nonce, model, name = _decode(_LABEL, raw)
        return cls(round=round_, nonce=nonce, model=model, name=name)


def _decode(decoder: msgspec.msgpack.Decoder[_Fields], raw: bytes) -> _Fields:
    if len(raw) > _BODY_BYTES_MAX:
        raise FeedError(Reason.TOO_LARGE, "record")
    try:
        return decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FeedError(Reason.BAD_FRAME, f"record: {error}") from None
