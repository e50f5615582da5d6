"""`gossamer_agent.members.calling` on real sockets: a stranger joins, and hears why it may not."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
import trio

from gossamer_agent.contract import Contract
from gossamer_agent.groups import first_of_ours
from gossamer_agent.members.calling import calling
from gossamer_agent.members.joining import JOIN, Joined, RefusedError, ask
from gossamer_agent.members.stewardship import Stewardship, found_swarm
from gossamer_agent.policy import Policy
from gossamer_agent.store.state import StateStore
from gossamer_crypto.genesis import Genesis
from gossamer_crypto.identity import Identity
from gossamer_crypto.invite import Invite
from gossamer_crypto.join import JOIN_REQUEST_BYTES_MAX
from gossamer_crypto.keyfile import Keys
from gossamer_crypto.prekey import PrekeySecret
from gossamer_transport.errors import NetworkError
from gossamer_transport.libp2p import Libp2pOptions, open_network
from gossamer_transport.limits import Limits

STEWARD = Identity.from_seed(b"g" * 32)
GENESIS = Genesis(
    name="greenhouse",
    stewards=(STEWARD.peer_id,),
    contract=Contract("classification", 2, (4,), 8).digest(),
    model_sha256=bytes(32),
    policy=Policy().pack(),
    nonce=bytes(32),
)


def new_keys() -> Keys:
    return Keys(Identity.generate(), (PrekeySecret.generate(),))


@asynccontextmanager
async def steward(folder: Path) -> AsyncIterator[Callable[..., Invite]]:
    """A steward's agent that answers JOIN; opens invites to it."""
    with closing(StateStore(folder / "state.sqlite3")) as state:
        roster = found_swarm(state, STEWARD, PrekeySecret.generate().sign(STEWARD), GENESIS)
        stewardship = Stewardship(STEWARD, GENESIS, state)

        async def answer(peer: Any, request: bytes) -> bytes:
            return await trio.to_thread.run_sync(
                stewardship.answer_join, peer, request, int(time.time())
            )

        options = Libp2pOptions(swarm_id=GENESIS.swarm_id, listen=("/ip4/127.0.0.1/tcp/0",))
        async with open_network(STEWARD, options, Limits(), roster) as network:
            network.serve(JOIN, answer, request_bytes_max=JOIN_REQUEST_BYTES_MAX)
            (at,) = network.addresses()
            yield lambda uses=1: stewardship.open_invite([at], uses, None)


async def join(invite: Invite, keys: Keys) -> Joined:
    async with calling(keys.identity, invite.swarm_id, invite.stewards) as network:
        return await ask(network, invite, keys, say=lambda line: None, keep=lambda: None)


@pytest.mark.slow
def test_an_invite_admits_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with steward(tmp_path) as open_invite:
            invite, keys = open_invite(), new_keys()
            joined = await join(invite, keys)
            assert joined.genesis == GENESIS
            assert await join(invite, keys) == joined
            with pytest.raises(RefusedError, match="is used up"), first_of_ours():
                await join(invite, new_keys())

    trio.run(main)


@pytest.mark.slow
def test_nobody_listens_there(tmp_path: Path) -> None:
    async def main() -> None:
        async with steward(tmp_path) as open_invite:
            invite = open_invite()
        with pytest.raises(NetworkError, match="connection refused"), first_of_ours():
            await join(invite, new_keys())

    trio.run(main)


@pytest.mark.slow
def test_somebody_else_listens_there(tmp_path: Path) -> None:
    async def main() -> None:
        async with steward(tmp_path) as open_invite:
            honest = open_invite()
            other = Identity.generate().peer_id
            at = tuple(text.split("/p2p/")[0] for text in honest.addresses)
            invite = Invite(honest.swarm_id, (other,), at, honest.token)
            with (
                pytest.raises(NetworkError, match="answers with another identity"),
                first_of_ours(),
            ):
                await join(invite, new_keys())

    trio.run(main)
