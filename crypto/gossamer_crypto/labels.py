"""Domain separation: the one table of labels that precede everything we hash, sign or derive.

Each label ends in NUL and holds no other NUL, so that none is a prefix of another and no message
can be read under two of them. The version changes when the meaning of the labelled bytes changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final


def _label(name: str) -> bytes:
    return b"gossamer/v1/" + name.encode("ascii") + b"\0"


IDENTITY_PREKEY: Final = _label("identity-prekey")
GENESIS: Final = _label("genesis")
INVITE: Final = _label("invite")
INVITE_TOKEN: Final = _label("invite-token")
JOIN: Final = _label("join")
JOIN_PROOF: Final = _label("join-proof")
ROTATE: Final = _label("rotate")
KEY_FILE: Final = _label("key-file")
ROSTER: Final = _label("roster")
ROSTER_ENTRY: Final = _label("roster-entry")
EPOCH: Final = _label("epoch")
EPOCH_COMMIT: Final = _label("epoch-commit")
WRAP: Final = _label("wrap")
ENVELOPE_KEY: Final = _label("envelope-key")
ENVELOPE_SIG: Final = _label("envelope-sig")
ENTRY: Final = _label("entry")
CHECKPOINT: Final = _label("checkpoint")
COSIGN: Final = _label("cosign")
FORK_PROOF: Final = _label("fork-proof")
RECEIPT: Final = _label("receipt")
HOLDOUT: Final = _label("holdout")

LABELS: Final[Mapping[str, bytes]] = MappingProxyType(
    {
        "identity-prekey": IDENTITY_PREKEY,
        "genesis": GENESIS,
        "invite": INVITE,
        "invite-token": INVITE_TOKEN,
        "join": JOIN,
        "join-proof": JOIN_PROOF,
        "rotate": ROTATE,
        "key-file": KEY_FILE,
        "roster": ROSTER,
        "roster-entry": ROSTER_ENTRY,
        "epoch": EPOCH,
        "epoch-commit": EPOCH_COMMIT,
        "wrap": WRAP,
        "envelope-key": ENVELOPE_KEY,
        "envelope-sig": ENVELOPE_SIG,
        "entry": ENTRY,
        "checkpoint": CHECKPOINT,
        "cosign": COSIGN,
        "fork-proof": FORK_PROOF,
        "receipt": RECEIPT,
        "holdout": HOLDOUT,
    }
)
"""Name -> `b"gossamer/v1/<name>\\0"`, every label there is."""
