"""The swarm's policy: what all its members must do alike. The genesis pins its bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

import msgspec

from gossamer_crypto.errors import GenesisError, Reason
from gossamer_transport.codec import Codec

_Size: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=1024)]
_Name: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
_DECODER = msgspec.msgpack.Decoder(
    tuple[Literal[1], _Name, Literal[1, 8, 32], _Size, _Size, _Size, _Size]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Merge rule, codec and the sizes that bound a peer's cost.

    turnover_rounds: one random slot of the view is renewed once in so many rounds, on average.
    stale_rounds: a replica that has not moved for longer does not vote.
    """

    rule: str = "gossamer"
    codec: Codec = Codec.SIGN1
    view_size: int = 8
    quorum: int = 3
    turnover_rounds: int = 10
    stale_rounds: int = 4

    def pack(self) -> bytes:
        """The bytes that a genesis pins."""
        fields = (self.rule, int(self.codec), self.view_size, self.quorum)
        return msgspec.msgpack.encode((1, *fields, self.turnover_rounds, self.stale_rounds))

    @classmethod
    def unpack(cls, raw: bytes) -> Policy:
        """The policy in a genesis; GenesisError if the bytes are anything else."""
        try:
            _, rule, codec, view_size, quorum, turnover, stale = _DECODER.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise GenesisError(Reason.BAD_GENESIS, f"policy: {error}") from None
        return cls(
            rule=rule,
            codec=Codec(codec),
            view_size=view_size,
            quorum=quorum,
            turnover_rounds=turnover,
            stale_rounds=stale,
        )
