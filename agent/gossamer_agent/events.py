"""What the world tells an agent's core, and what the core asks of the world.

`core.handle(now, event) -> list[Effect]`. A shell performs the effects in order and feeds back what
comes of them. Effects that compute (`Merge`, `Evaluate`, `Train`) are answered by the event of the
same verb; everything slow is such an effect, so that a shell can run it off its event loop.
"""

from __future__ import annotations

from dataclasses import dataclass

from gossamer_agent.learner import Score, Vector
from gossamer_agent.merge.result import Merged, MergeInput
from gossamer_agent.owner import ConfigurationRecord
from gossamer_crypto.envelope import Envelope
from gossamer_crypto.errors import Reason
from gossamer_crypto.fork_proof import ForkProof
from gossamer_crypto.identity import PeerId


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The agent begins; `genesis` is the packed genesis of its swarm."""

    genesis: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PeersSeen:
    """The peers that can be reached now."""

    peers: tuple[PeerId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundDue:
    """It is time for the next round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangePaused:
    """The device may send and fetch no deltas until `ExchangeResumed`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeResumed:
    """The device may again, or has rested for long: what was missed is asked for now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A frame arrived; the network vouches for the sender."""

    sender: PeerId
    frame: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeDone:
    """candidate: float32[P], what the device would make of the merge; None: the merge itself.
    gains: by how much replicas of some peers would lower the own hold-out loss, in nats.
    """

    merged: Merged
    candidate: Vector | None = None
    gains: tuple[tuple[PeerId, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateDone:
    """one_sided: `gate.one_sidedness` of the hold-out labels; None where there are none."""

    current: Score
    candidate: Score
    one_sided: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainDone:
    """params: float32[P] after the local steps, finite."""

    params: Vector
    loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkSeen:
    """An author signed two entries for one place of its feed; the shell verified both."""

    proof: ForkProof


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured:
    """The agent works with other settings than its log tells; `record` does, but for the round."""

    record: ConfigurationRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """The owner gives the served model a name. nonce: 16 bytes that name this label."""

    name: str
    nonce: bytes


Event = (
    Started
    | PeersSeen
    | RoundDue
    | ExchangePaused
    | ExchangeResumed
    | Received
    | MergeDone
    | EvaluateDone
    | TrainDone
    | ForkSeen
    | Configured
    | Labelled
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Append:
    """Make this entry of the own feed durable before any later effect is performed."""

    entry: Envelope


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """Send a frame, at most once; it may be lost."""

    peer: PeerId
    frame: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """Combine the inputs by the rule; answered by `MergeDone`.

    round: the own one, from 1. initial: float32[P], the genesis replica.
    """

    rule: str
    inputs: tuple[MergeInput, ...]
    own: PeerId
    round: int
    initial: Vector


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluate:
    """Score both vectors on the local hold-out data; answered by `EvaluateDone`."""

    current: Vector
    candidate: Vector


@dataclass(frozen=True, slots=True, kw_only=True)
class Train:
    """Make the local steps from these parameters; answered by `TrainDone`.

    round: the own one, from 1. committed: whether its merge was.
    """

    params: Vector
    round: int = 1
    committed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Bytes were refused; count and show. `culprit` is None where nobody can be blamed."""

    sender: PeerId
    culprit: PeerId | None
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundDone:
    """A round ended. merged: how many replicas were merged (0: fewer than the quorum)."""

    round: int
    merged: int
    committed: bool


Effect = Append | Send | Merge | Evaluate | Train | Refused | RoundDone
