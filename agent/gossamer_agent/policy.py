"""The swarm's policy: what all its members must do alike. The genesis pins its bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

import msgspec

from gossamer_crypto.errors import GenesisError, Reason
from gossamer_transport.codec import Codec

_Size: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=1024)]
_Name: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
_Steps: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=10_000)]
_Names: TypeAlias = Annotated[list[_Name], msgspec.Meta(max_length=64)]
_DECODER = msgspec.msgpack.Decoder(
    tuple[Literal[1], _Name, Literal[1, 8, 32], _Size, _Size, _Size, _Size]
)
_DECODER_2 = msgspec.msgpack.Decoder(
    tuple[Literal[2], _Name, Literal[1, 8, 32], _Size, _Size, _Size, _Size, _Steps, _Names]
)
_ARRAY_OF_NINE = b"\x99"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Merge rule, codec and the sizes that bound a peer's cost.

    turnover_rounds: one random slot of the view is renewed once in so many rounds, on average.
    stale_rounds: a replica that has not moved for longer does not vote. nominal_steps: the number
    of local steps to which each member scales its own change before it publishes; 0: nobody scales
    (training/nova.py). personal: layers that each member keeps to itself, in alphabetical order;
    the swarm's vectors are those of the other layers (training/personal.py).

    Policies without the last two have the encoding of version 1, all others that of version 2.
    """

    rule: str = "gossamer"
    codec: Codec = Codec.SIGN1
    view_size: int = 8
    quorum: int = 3
    turnover_rounds: int = 10
    stale_rounds: int = 4
    nominal_steps: int = 0
    personal: tuple[str, ...] = ()

    def pack(self) -> bytes:
        """The bytes that a genesis pins."""
        sizes = (self.view_size, self.quorum, self.turnover_rounds, self.stale_rounds)
        fields = (self.rule, int(self.codec), *sizes)
        if self.nominal_steps == 0 and not self.personal:
            return msgspec.msgpack.encode((1, *fields))
        return msgspec.msgpack.encode((2, *fields, self.nominal_steps, self.personal))

    @classmethod
    def unpack(cls, raw: bytes) -> Policy:
        """The policy in a genesis; GenesisError if the bytes are anything else."""
        try:
            if raw[:1] == _ARRAY_OF_NINE:
                _, rule, codec, view_size, quorum, turnover, stale, steps, names = (
                    _DECODER_2.decode(raw)
                )
            else:
                _, rule, codec, view_size, quorum, turnover, stale = _DECODER.decode(raw)
                steps, names = 0, []
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise GenesisError(Reason.BAD_GENESIS, f"policy: {error}") from None
        if names != sorted(set(names)):
            raise GenesisError(Reason.BAD_GENESIS, "policy: personal layers are not in order")
        if raw[:1] == _ARRAY_OF_NINE and not (steps or names):
            raise GenesisError(Reason.BAD_GENESIS, "policy: version 2 says nothing that 1 does not")
        return cls(
            rule=rule,
            codec=Codec(codec),
            view_size=view_size,
            quorum=quorum,
            turnover_rounds=turnover,
            stale_rounds=stale,
            nominal_steps=steps,
            personal=tuple(names),
        )
