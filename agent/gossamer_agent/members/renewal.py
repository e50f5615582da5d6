"""A device takes a new identity in its swarm: `gossamer identity rotate`.

Theory of operation. A steward removes the old identity from the roster and adds the new one, at the
request of both. The new keys are on the disk, beside the old ones, before the request leaves; the
old ones stay in use until the answer is checked. If that breaks off anywhere, the next attempt
finds the new keys, asks again, and gets the same answer.

A log belongs to its author. Those of the old identity move to `retired/<its id>/`, where
`gossamer log verify` still reads them; the new one begins with an empty log.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

from gossamer_agent.device.folder import KEY_NAME, Device, holding
from gossamer_agent.errors import AgentError, MembershipError
from gossamer_agent.members import calling
from gossamer_agent.members.joining import Joined, ask_stewards, check_rotation
from gossamer_agent.node.statussocket import ask
from gossamer_agent.store.state import ADDRESSES
from gossamer_crypto.identity import Identity, PeerId, peer_id_text
from gossamer_crypto.join import make_rotate_request
from gossamer_crypto.keyfile import Keys, load_keys, save_keys
from gossamer_crypto.prekey import PrekeySecret
from gossamer_transport.address_book import AddressBook

PENDING_NAME: Final = "identity.next"
RETIRED_NAME: Final = "retired"


def check_renewable(device: Device) -> None:
    """Raise unless the device can take a new identity now."""
    if device.is_steward:
        raise MembershipError(
            f"a steward cannot change its identity: the terms of {device.genesis.name!r} name it "
            "for good; protect the key with a passphrase, or found a new swarm and invite all"
        )
    if ask(device.path, "status") is not None:
        raise AgentError(f"{device.path}: an agent is running here; stop it first")


def pending_keys(device: Device, passphrase: str | None) -> Keys:
    """The new keys: those of an attempt that broke off, or fresh ones; on the disk either way."""
    path = device.path / PENDING_NAME
    if path.exists():
        return load_keys(path, passphrase)
    keys = Keys(Identity.generate(), (PrekeySecret.generate(),))
    save_keys(path, keys, passphrase)
    return keys


async def ask_for(device: Device, keys: Keys, say: Callable[[str], None]) -> Joined:
    """Ask the stewards to put `keys` in the place of the device's. Errors as `joining.ask`."""
    targets = _targets(device)
    if not targets:
        raise MembershipError(
            "no address of a steward is known here; run the agent until it has met one"
        )
    genesis, prekey = device.genesis, keys.prekeys[0].sign(keys.identity)

    def request(steward: PeerId) -> bytes:
        return make_rotate_request(
            device.identity, keys.identity, prekey, genesis.swarm_id, steward
        )

    def check(steward: PeerId, raw: bytes) -> Joined:
        return check_rotation(raw, genesis, steward, keys)

    async with calling.calling(device.identity, genesis.swarm_id, genesis.stewards) as network:
        return await ask_stewards(network, targets, request, check, say)


def take_over(device: Device, joined: Joined) -> None:
    """Use the pending keys from now on. The key file is the last thing that changes."""
    with closing(device.open_state()) as state:
        holding(device.genesis, joined.roster, {})(state)
    _retire_logs(device.path, device.peer_id)
    (device.path / PENDING_NAME).replace(device.path / KEY_NAME)


def _targets(device: Device) -> list[tuple[str, PeerId]]:
    book = AddressBook(device.peer_id)
    with closing(device.open_state()) as state:
        book.restore(state.items(ADDRESSES))
    stewards = device.genesis.stewards
    return [(address, steward) for steward in stewards for address in book.addresses(steward)]


def _retire_logs(folder: Path, author: PeerId) -> None:
    retired = folder / RETIRED_NAME / peer_id_text(author)
    logs = [path for path in folder.glob("feed*.sqlite3*") if path.is_file()]
    if logs:
        retired.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in logs:
        path.replace(retired / path.name)
