"""Joining a swarm: ask a steward of the invite, believe nothing that cannot be checked.

Theory of operation. The invite names the swarm by the hash of its terms, so whoever answers cannot
pass off another swarm: the genesis must have that hash, the roster must verify link by link from
there, and it must end with us as a member and with a key that we can open. `ask` needs nothing of a
network but `dial` and `request`; the rest of this module is pure.

An invite is used up by an identity, not by a request: whoever asks again with the same identity and
token gets the same answer. So the identity is on the disk before the first request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Protocol

from gossamer_agent.device.addresses import of_peer, without_peer
from gossamer_agent.errors import MembershipError, ModelError
from gossamer_agent.policy import Policy
from gossamer_crypto.epoch_ring import EpochRing
from gossamer_crypto.errors import PeerError
from gossamer_crypto.genesis import Genesis
from gossamer_crypto.identity import PeerId
from gossamer_crypto.invite import Invite, parse_invite
from gossamer_crypto.join import (
    JOIN_ANSWER_BYTES_MAX,
    JoinAnswer,
    JoinRefusal,
    make_join_request,
    parse_join_answer,
)
from gossamer_crypto.keyfile import Keys
from gossamer_crypto.roster import Roster
from gossamer_transport.errors import NetworkError

if TYPE_CHECKING:
    from gossamer_agent.learner import Learner

JOIN: Final = "/gossamer/join/1"
JOIN_TIMEOUT_S: Final = 30.0

_AGAIN = "ask a steward for a new one"
_REFUSALS: Final[Mapping[JoinRefusal, str]] = MappingProxyType(
    {
        JoinRefusal.UNKNOWN_INVITE: f"the steward does not know this invite; {_AGAIN}",
        JoinRefusal.USED_UP: f"the invite is used up; {_AGAIN}",
        JoinRefusal.EXPIRED: f"the invite has expired; {_AGAIN}",
        JoinRefusal.REMOVED: "this device was removed from the swarm; a steward has to invite a "
        "new identity",
        JoinRefusal.NOT_A_STEWARD: f"who answers at the invite's address is no steward; {_AGAIN}",
        JoinRefusal.FULL: "the swarm has as many members as it can hold",
        JoinRefusal.BAD_REQUEST: "the steward did not understand the request: it runs another "
        "version, compare `gossamer version`",
        JoinRefusal.NOT_A_MEMBER: "the steward does not know this device as a member",
    }
)
# Another steward of the invite may answer better.
_TRY_NEXT: Final = (JoinRefusal.UNKNOWN_INVITE, JoinRefusal.NOT_A_STEWARD)


class RefusedError(MembershipError):
    """A steward said no. `refusal` is its reason."""

    def __init__(self, refusal: JoinRefusal) -> None:
        super().__init__(_REFUSALS[refusal])
        self.refusal = refusal


class Caller(Protocol):
    """What asking needs of a network."""

    __slots__ = ()

    async def dial(self, address: str) -> PeerId:
        """Connect and say who answers. Unreachable with a cause in one line."""
        ...

    async def request(
        self,
        peer: PeerId,
        protocol: str,
        payload: bytes,
        *,
        response_bytes_max: int,
        timeout_s: float,
    ) -> bytes:
        """Ask once. NetworkError when there is no answer."""
        ...


@dataclass(frozen=True, slots=True)
class Joined:
    """A checked answer: the swarm's terms, and the bytes of its roster's entries in order."""

    genesis: Genesis
    roster: tuple[bytes, ...]
    steward: PeerId


def read_invite(text: str) -> Invite:
    """The invite in `text`. Raises MembershipError."""
    try:
        return parse_invite(text)
    except PeerError as error:
        raise MembershipError(
            f"the invite cannot be read ({error.detail}); copy it again, whole"
        ) from None


async def ask(
    network: Caller,
    invite: Invite,
    keys: Keys,
    *,
    say: Callable[[str], None],
    keep: Callable[[], None],
) -> Joined:
    """Ask the stewards of the invite at its addresses until one admits us.

    say: is told one line before each attempt; keep: brings the keys to the disk, before they are
    first used. Raises RefusedError, MembershipError for an answer
    that does not check out, NetworkError when no steward can be reached, saying why for each.
    """
    prekey = keys.prekeys[0].sign(keys.identity)

    def request(steward: PeerId) -> bytes:
        keep()
        return make_join_request(keys.identity, prekey, invite, steward)

    def check(steward: PeerId, raw: bytes) -> Joined:
        return check_answer(raw, invite, steward, keys)

    targets = [(address, steward) for address in invite.addresses for steward in invite.stewards]
    return await ask_stewards(network, targets, request, check, say)


async def ask_stewards(
    network: Caller,
    targets: list[tuple[str, PeerId]],
    request: Callable[[PeerId], bytes],
    check: Callable[[PeerId, bytes], Joined],
    say: Callable[[str], None],
) -> Joined:
    """Send `request(steward)` to each target (address, steward) until an answer passes `check`.

    Errors as `ask`.
    """
    failures: list[str] = []
    refused: RefusedError | None = None
    for address, steward in targets:
        target = of_peer(address, steward)
        if target is None:
            continue  # the address of another steward
        where = without_peer(target)
        say(f"asking the steward at {where}")
        try:
            raw = await _answer(network, target, steward, request)
        except NetworkError as error:
            failures.append(f"{where}: {error}")
            continue
        try:
            return check(steward, raw)
        except RefusedError as error:
            if error.refusal not in _TRY_NEXT:
                raise
            refused = error
    if refused is not None:
        raise refused
    raise NetworkError(f"no steward can be reached: {'; '.join(failures) or 'no address'}")


async def _answer(
    network: Caller, target: str, steward: PeerId, request: Callable[[PeerId], bytes]
) -> bytes:
    if await network.dial(target) != steward:
        raise NetworkError("answers with another identity")
    return await network.request(
        steward,
        JOIN,
        request(steward),
        response_bytes_max=JOIN_ANSWER_BYTES_MAX,
        timeout_s=JOIN_TIMEOUT_S,
    )


def check_answer(raw: bytes, invite: Invite, steward: PeerId, keys: Keys) -> Joined:
    """What a steward's answer makes us. Raises RefusedError, MembershipError."""
    answer = _unrefused(raw)
    genesis = _genesis(answer.genesis)
    if genesis.swarm_id != invite.swarm_id:
        raise MembershipError("the steward answers for another swarm than the invite's")
    return _membership(genesis, answer, steward, keys)


def check_rotation(raw: bytes, genesis: Genesis, steward: PeerId, keys: Keys) -> Joined:
    """As `check_answer`, for a member that asked for `keys` in place of its old ones."""
    return _membership(genesis, _unrefused(raw), steward, keys)


def find_model(genesis: Genesis, reference: str | None) -> tuple[str, Learner]:
    """The swarm's model: the one that `reference` names, else the shipped one that fits.

    Raises ModelError when that is another model than the swarm's, or none fits.
    """
    from gossamer_agent.models import load_learner, model_names  # noqa: PLC0415  imports numpy
    from gossamer_agent.policy import Policy  # noqa: PLC0415
    from gossamer_agent.training.agreed import agreed_learner  # noqa: PLC0415

    for name in model_names() if reference is None else (reference,):
        learner = load_learner(name)
        same_file = learner.model_sha256 == genesis.model_sha256
        if same_file:
            learner = agreed_learner(learner, name, Policy.unpack(genesis.policy).personal)
        if same_file and learner.contract.digest() == genesis.contract:
            return name, learner
    wanted = genesis.model_sha256.hex()
    if reference is None:
        raise ModelError(
            f"the swarm's model does not ship with this version (sha256 {wanted}): get the file "
            "and run the same command again with --model FILE; the invite is not used up by that"
        )
    raise ModelError(f"{reference}: is not the swarm's model, which has sha256 {wanted}")


def _unrefused(raw: bytes) -> JoinAnswer:
    try:
        answer = parse_join_answer(raw)
    except PeerError as error:
        raise MembershipError(f"the steward's answer is damaged: {error}") from None
    if answer.refusal is not None:
        raise RefusedError(answer.refusal)
    return answer


def _genesis(raw: bytes) -> Genesis:
    try:
        genesis = Genesis.unpack(raw)
        Policy.unpack(genesis.policy)
    except PeerError as error:
        raise MembershipError(
            f"the swarm's terms cannot be used by this version ({error}); update gossamer"
        ) from None
    return genesis


def _membership(genesis: Genesis, answer: JoinAnswer, steward: PeerId, keys: Keys) -> Joined:
    if steward not in genesis.stewards:
        raise MembershipError("who answered is no steward of the swarm")
    own = keys.identity.peer_id
    roster, ring = Roster(genesis), EpochRing(own, keys.prekeys)
    try:
        for entry in answer.roster:
            roster.extend(entry)
    except PeerError as error:
        raise MembershipError(f"the steward's roster does not verify: {error}") from None
    member = roster.members.get(own)
    if member is None or member.prekey.public != keys.prekeys[0].public:
        raise MembershipError("the steward's roster does not hold this device")
    try:
        ring.follow(roster)
    except PeerError as error:
        raise MembershipError(f"the steward's roster holds a wrong key: {error}") from None
    if ring.current == 0 or ring.current != roster.epoch:
        raise MembershipError("the steward's roster holds no key for this device")
    return Joined(genesis, answer.roster, steward)
