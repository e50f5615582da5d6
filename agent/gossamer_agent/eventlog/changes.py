"""From two looks at an agent to what happened between them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from gossamer_agent.eventlog.setup import Level
from gossamer_agent.reputation import Standing
from gossamer_agent.tally import RoundRecord

STORE_FAILED = "store failed"
"""How the state of an agent begins whose store failed."""


@dataclass(frozen=True, slots=True)
class Happening:
    """One line of the log. sentence: for people; name and fields: for programs."""

    level: Level
    name: str
    sentence: str
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What an agent was like at one moment.

    standings: of the other members, by their peer id as text. pauses: what is paused and why, in
    words, by kind. rounds: the newest records, oldest first.
    """

    state: str = ""
    epoch: int = 0
    others: int = 0
    linked: int = -1
    standings: Mapping[str, Standing] = field(default_factory=dict)
    pauses: Mapping[str, str] = field(default_factory=dict)
    troubles: tuple[str, ...] = ()
    rounds: tuple[RoundRecord, ...] = ()


def happened(before: Look, now: Look) -> Iterator[Happening]:
    """The events between two looks, in an order that reads well."""
    if now.epoch != before.epoch:
        yield Happening(
            Level.NOTICE, "epoch-joined", f"joined epoch {now.epoch}", {"epoch": now.epoch}
        )
    if now.linked != before.linked:
        yield Happening(
            Level.NOTICE,
            "links",
            f"linked to {now.linked} of {now.others} other members",
            {"linked": now.linked, "others": now.others},
        )
    if now.state != before.state:
        yield _state(now.state)
    for trouble in now.troubles:
        if trouble not in before.troubles:
            yield Happening(Level.WARNING, "trouble", trouble, {"trouble": trouble})
    yield from _pauses(before.pauses, now.pauses)
    newest = before.rounds[-1].round if before.rounds else 0
    for record in now.rounds:
        if record.round > newest:
            yield from _round(record)
    yield from _standings(before.standings, now.standings)


def _state(state: str) -> Happening:
    if state.startswith(STORE_FAILED):
        return Happening(Level.ERROR, "store-failed", state, {"state": state})
    return Happening(Level.NOTICE, "state", state, {"state": state})


def _pauses(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[Happening]:
    for kind, why in now.items():
        if kind not in before:
            yield Happening(Level.NOTICE, "paused", f"paused: {why}", {"kind": kind, "why": why})
    for kind in before:
        if kind not in now:
            yield Happening(Level.NOTICE, "resumed", f"resumed: no pause by {kind}", {"kind": kind})


def _round(record: RoundRecord) -> Iterator[Happening]:
    yield Happening(
        Level.INFO,
        "round-done",
        _sentence(record),
        {
            "round": record.round,
            "merged": record.merged,
            "committed": record.committed,
            "holdout_loss": record.holdout_loss,
            "holdout_accuracy": record.holdout_accuracy,
            "accuracy": record.accuracy,
            "bytes_sent": record.bytes_sent,
        },
    )
    if record.merged and not record.committed:
        yield Happening(
            Level.NOTICE,
            "merge-refused",
            f"round {record.round}: the merge of {record.merged} made the model worse on the"
            " hold-out data and was not taken",
            {"round": record.round, "merged": record.merged, "holdout_loss": record.holdout_loss},
        )


def _sentence(record: RoundRecord) -> str:
    parts = [f"round {record.round}"]
    if record.merged:
        fate = "" if record.committed else ", not taken"
        parts.append(f"merged {record.merged}{fate}")
    else:
        parts.append("learnt alone")
    if record.holdout_loss is not None:
        parts.append(f"loss {record.holdout_loss:.3f}")
    if record.accuracy is not None:
        parts.append(f"accuracy {record.accuracy:.1%}")
    parts.append(f"{record.bytes_sent / 1000:.0f} kB sent so far")
    return ", ".join(parts)


def _standings(before: Mapping[str, Standing], now: Mapping[str, Standing]) -> Iterator[Happening]:
    for peer, standing in now.items():
        if standing is before.get(peer, Standing.ADMITTED):
            continue
        fields = {"peer": peer, "standing": str(standing)}
        match standing:
            case Standing.ADMITTED:
                yield Happening(
                    Level.NOTICE, "peer-released", f"{peer} may vote in merges again", fields
                )
            case Standing.QUARANTINED:
                yield Happening(
                    Level.WARNING,
                    "peer-quarantined",
                    f"{peer} is in quarantine and does not vote; why: gossamer reputation",
                    fields,
                )
            case Standing.BANNED:
                yield Happening(
                    Level.WARNING, "peer-banned", f"{peer} is banned for good: it forked", fields
                )
