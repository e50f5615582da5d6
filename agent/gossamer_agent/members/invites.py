"""The invites that a steward gave out, in its state store: one row each, with who used it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, cast

from gossamer_agent.store import DamagedStoreError
from gossamer_agent.store.state import StateStore
from gossamer_crypto.identity import PEER_ID_BYTES, PeerId
from gossamer_transport import flat

SPACE: Final = "invite"

_VERSION = 1
_SHAPE = (int, bytes, int, int, bytes, bytes)
_NEVER = 0  # in place of the expiry, which is stored plus one


@dataclass(frozen=True, slots=True)
class OpenInvite:
    """An invite that was given out. expires_at: Unix seconds, None for never; used_by: the peers
    that joined with it, in order. Whoever has the token can use what is left of it.
    """

    token_id: bytes
    token: bytes
    uses: int
    expires_at: int | None
    addresses: tuple[str, ...]
    used_by: tuple[PeerId, ...] = ()

    def __repr__(self) -> str:
        return f"OpenInvite({self.token_id.hex()}, {len(self.used_by)} of {self.uses} used)"


def load_invites(state: StateStore) -> tuple[OpenInvite, ...]:
    """All invites in order of token id. Raises StoreError, as everything here."""
    return tuple(_unpack(state, token_id, raw) for token_id, raw in state.items(SPACE))


def load_invite(state: StateStore, token_id: bytes) -> OpenInvite | None:
    """The invite with this token id (16 bytes), or None."""
    raw = state.get(SPACE, token_id)
    return None if raw is None else _unpack(state, token_id, raw)


def keep_invite(state: StateStore, invite: OpenInvite) -> None:
    """Write an invite, or what became of it; durable as `StateStore.put`."""
    expiry = _NEVER if invite.expires_at is None else invite.expires_at + 1
    addresses = "\n".join(invite.addresses).encode()
    fields: list[int | bytes] = [
        _VERSION,
        invite.token,
        invite.uses,
        expiry,
        addresses,
        b"".join(invite.used_by),
    ]
    state.put(SPACE, invite.token_id, flat.pack(fields))


def drop_invite(state: StateStore, token_id: bytes) -> bool:
    """Remove an invite; False if there was none."""
    with state.transaction():
        known = state.get(SPACE, token_id) is not None
        state.delete(SPACE, token_id)
    return known


def _unpack(state: StateStore, token_id: bytes, raw: bytes) -> OpenInvite:
    try:
        fields = flat.unpack(raw, fields_max=len(_SHAPE), bin_bytes_max=len(raw))
    except ValueError:
        fields = []
    if tuple(map(type, fields)) != _SHAPE or fields[0] != _VERSION:
        raise DamagedStoreError(f"{state.path}: invite {token_id.hex()} has another format")
    _, token, uses, expiry, addresses, used_by = cast(
        tuple[int, bytes, int, int, bytes, bytes], tuple(fields)
    )
    peers = [used_by[at : at + PEER_ID_BYTES] for at in range(0, len(used_by), PEER_ID_BYTES)]
    return OpenInvite(
        token_id=token_id,
        token=token,
        uses=uses,
        expires_at=None if expiry == _NEVER else expiry - 1,
        addresses=tuple(addresses.decode().split("\n")),
        used_by=tuple(map(PeerId, peers)),
    )
