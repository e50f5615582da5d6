"""The epoch secrets that stewards gave to this device, read from the roster.

Nothing else is stored: the roster holds every secret, wrapped to our prekeys. What is accepted is
narrow all the same: the current epoch and, for a grace time, the one before it.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from gossamer_crypto.epoch import EpochKeys, epoch_commitment, wrap_info
from gossamer_crypto.errors import EpochError, Reason
from gossamer_crypto.identity import PeerId
from gossamer_crypto.prekey import PrekeySecret
from gossamer_crypto.roster import Roster, RosterEntry, RosterKind
from gossamer_crypto.wrap import unwrap_secret


class EpochRing(EpochKeys):
    """Secrets by epoch. `follow` takes up what the roster announces."""

    __slots__ = ("_own", "_prekeys", "_read", "_read_hash", "_retired", "_secrets")

    def __init__(self, own: PeerId, prekeys: Sequence[PrekeySecret]) -> None:
        self._own = own
        self._prekeys = tuple(prekeys)
        self._secrets: dict[int, bytes] = {}
        self._retired = 0  # newest epoch whose grace has ended
        self._read = 0
        self._read_hash: bytes | None = None

    @property
    def current(self) -> int:
        """The newest epoch that we hold; 0 before the first."""
        return max(self._secrets, default=0)

    def secret(self, epoch: int) -> bytes | None:
        """The secret of the current epoch or, in its grace time, of the one before."""
        if epoch != self.current and (epoch != self.current - 1 or epoch <= self._retired):
            return None
        return self._secrets.get(epoch)

    def archived(self, epoch: int) -> bytes | None:
        """The secret of any epoch that we were given: for reading our own feed only."""
        return self._secrets.get(epoch)

    def retire_previous(self) -> None:
        """End the grace time of the epoch before the current one."""
        self._retired = max(self._retired, self.current - 1)

    def follow(self, roster: Roster) -> bool:
        """Take up the epochs that were announced since the last call; True if `current`, or
        its secret, is another now.

        Raises EpochError after all were read if the newest gave us no secret that fits its
        commitment. Older ones may be wrapped to a prekey that we do not have any more.
        """
        before = self._newest()
        if self._read_hash is not None and roster.hash_at(self._read) != self._read_hash:
            self._secrets.clear()  # a fork was resolved: what we read is not the chain any more
            self._read = self._retired = 0
        failure: EpochError | None = None
        for entry in roster.entries[self._read :]:
            wrapped = entry.wraps.get(self._own)
            if entry.kind is RosterKind.EPOCH and wrapped is not None:
                try:
                    self._secrets[entry.epoch] = self._unwrap(entry, wrapped)
                    failure = None
                except EpochError as error:
                    failure = error
        self._read, self._read_hash = len(roster), roster.head_hash
        if failure is not None:
            raise failure
        return self._newest() != before

    def _newest(self) -> tuple[int, bytes | None]:
        return self.current, self._secrets.get(self.current)

    def _unwrap(self, entry: RosterEntry, wrapped: bytes) -> bytes:
        info = wrap_info(entry.swarm, entry.epoch, self._own, entry.prev)
        failure = EpochError(Reason.UNDECRYPTABLE, "this device has no prekey")
        for prekey in self._prekeys:
            try:
                secret = unwrap_secret(wrapped, prekey, info)
            except EpochError as error:
                failure = error
                continue
            announced = epoch_commitment(secret, entry.swarm, entry.epoch)
            if hmac.compare_digest(announced, entry.commitment):
                return secret
            failure = EpochError(
                Reason.BAD_COMMITMENT, f"epoch {entry.epoch}: not the secret that others were given"
            )
        raise failure

    def __repr__(self) -> str:
        return f"EpochRing({self.current})"
