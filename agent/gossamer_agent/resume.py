"""Starting an agent again where its own feed ends."""

from __future__ import annotations

from collections.abc import Iterable

from gossamer_agent.errors import StoreError
from gossamer_agent.round import AgentCore, Swarm
from gossamer_agent.store import DamagedStoreError
from gossamer_crypto.envelope import Envelope, Kind, open_envelope
from gossamer_crypto.errors import PeerError
from gossamer_transport.delta import unpack_delta


def resume(core: AgentCore, swarm: Swarm, entries: Iterable[Envelope]) -> None:
    """Bring a new core to where its own feed, `entries` from seq 0 on, ends.

    Replays the own deltas, so that the next one fits the replica that followers hold: after a
    delta that starts again at step 1 they would find another hash and rightly distrust us. The
    agent learns on from its replica; what it had learnt beyond that is lost, and so is all that it
    knew of others.

    Raises StoreError when the key of an entry is gone, DamagedStoreError when its content does not
    lead to the replica that it names.
    """
    replica = core.publisher.replica
    for entry in entries:
        if entry.header.kind is not Kind.DELTA:
            continue
        seq, epoch = entry.header.seq, entry.header.epoch
        secret = swarm.epochs.secret(epoch)
        if secret is None:
            raise StoreError(f"own entry {seq} cannot be read: no key for epoch {epoch}")
        try:
            body = open_envelope(entry, secret)
            replica.apply(unpack_delta(body, swarm.contract.parameters, swarm.policy.codec))
        except PeerError as error:
            raise DamagedStoreError(
                f"own entry {seq} cannot be replayed ({error}): run `gossamer log verify`"
            ) from error
    core.params = core.served = replica.vector
    core.round = replica.round
