"""The story of one peer's standing, in plain lines. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from gossamer_agent.evidence import EvidenceKind
from gossamer_agent.reputation import (
    FULL_MARKS_PROGRESS,
    FULL_MARKS_RADII,
    NEWCOMER_ROUNDS,
    QUARANTINE_BELOW,
    RELEASED,
    TIMES_MAX,
    Standing,
)

if TYPE_CHECKING:
    from gossamer_agent.cli.reputation_account import PeerAccount, Piece

_ROWS_MAX: Final = 12
_NO_MARKS_RADII: Final = 2 * FULL_MARKS_RADII
_NO_MARKS_PROGRESS: Final = 2 * FULL_MARKS_PROGRESS
_CHANGES: Final = {
    EvidenceKind.QUARANTINED: "lost its vote",
    EvidenceKind.ADMITTED: "votes again",
    EvidenceKind.BANNED: "banned for good",
}


def story(told: PeerAccount, now: int) -> Iterator[str]:
    """Lines for a terminal. now: own round of the newest evidence of all."""
    yield f"peer      {told.peer}{_membership(told)}"
    if told.own:
        yield "          this device itself; nobody judges itself"
        return
    yield f"standing  {_standing(told)}"
    if why := _why(told):
        yield f"why       {why}"
    yield f"judged    {_judged(told)}"
    if told.standing != Standing.BANNED:
        for name, text in zip(("votes", ""), _votes(told), strict=False):
            yield f"{name:<9} {text}"
    yield from _evidence(told.evidence)
    yield ""
    yield f"next      {_next(told, now)}"


def _membership(told: PeerAccount) -> str:
    if not told.member:
        return ", no member any more"
    return "" if told.invited_by is None else f", invited by ...{told.invited_by[-8:]}"


def _standing(told: PeerAccount) -> str:
    since = "" if told.since_round is None else f" since round {told.since_round}"
    return f"{told.standing}{since}, score {told.score:.2f}"


def _why(told: PeerAccount) -> str:
    if told.why is None:
        if told.standing != Standing.ADMITTED:
            return "it was saved by an older version, which did not keep the reason"
        return ""
    if told.standing == Standing.BANNED:
        return f"{told.why}; both signatures were verified here"
    if told.why == RELEASED:
        return "its time in quarantine was over: it began anew, as a newcomer"
    if told.standing == Standing.ADMITTED:  # what an older version wrote
        return "its score rose: its parameters lay near enough to half of the others again"
    if told.why == EvidenceKind.DISTANCE:
        return (
            f"its score fell below {QUARANTINE_BELOW:.2f}: "
            "its parameters lay too far from half of the others in the merges"
        )
    return f"an offence, which costs the whole score at once: {told.why}"


def _judged(told: PeerAccount) -> str:
    if told.last_round is None:
        return "never: this device has heard nothing from it that it could judge"
    merges = "1 merge" if told.judged == 1 else f"{told.judged} merges"
    return f"in {merges}, heard of last in round {told.last_round}"


def _votes(told: PeerAccount) -> list[str]:
    """Why its votes are bounded, if they are."""
    said = []
    if told.subtree is not None:
        said.append(
            f"it is one of {told.subtree_members} in the subtree of ...{told.subtree[-8:]}, "
            "which holds a third of the votes of a merge at most"
        )
    if told.newcomer and told.newcomers_bounded:
        said.append(
            f"it is a newcomer, judged in {told.judged} of {NEWCOMER_ROUNDS} merges; "
            "until then all newcomers together hold a third of the votes at most"
        )
    elif told.newcomer:
        said.append(
            f"it is a newcomer, judged in {told.judged} of {NEWCOMER_ROUNDS} merges; their votes "
            "are not bounded, because this device knows too few others yet"
        )
    return said


def _evidence(pieces: list[Piece]) -> Iterator[str]:
    if not pieces:
        return
    yield ""
    if len(pieces) > _ROWS_MAX:
        yield f"the newest {_ROWS_MAX} of {len(pieces)} pieces of evidence (--json has all):"
    yield f"{'round':>9}  {'distance':>13}  {'mark':>4}  {'score':>5}"
    for piece in pieces[-_ROWS_MAX:]:
        if piece.mark is not None:
            far = "not finite" if piece.value is None else f"{piece.value:.2f} {_unit(piece)}"
            yield f"{piece.round:>9}  {far:>13}  {piece.mark:>4.2f}  {piece.score:>5.2f}"
        else:
            said = f"offence: {piece.words}"
            if piece.kind != EvidenceKind.OFFENCE:
                said = f"{_CHANGES[EvidenceKind(piece.kind)]} ({piece.words})"
            yield f"{piece.round:>9}  {'':>13}  {'':>4}  {piece.score:>5.2f}  {said}"


def _unit(piece: Piece) -> str:
    return "progress" if piece.kind == EvidenceKind.PROGRESS else "radii"


def _next(told: PeerAccount, now: int) -> str:
    if told.standing == Standing.BANNED:
        return "nothing readmits it; a steward can remove it: gossamer evict"
    if told.standing == Standing.ADMITTED:
        rounds = "1 merge" if told.bad_rounds == 1 else f"{told.bad_rounds} merges in a row"
        return (
            f"{rounds} at {_NO_MARKS_RADII:g} radii or more, and {_NO_MARKS_PROGRESS:g} of the "
            "progress since genesis or more, would cost its vote"
        )
    twice = "as long" if told.times >= TIMES_MAX else "twice as long"
    return (
        f"round {told.returns_round or 0} releases it (now {now}): it begins anew, as a newcomer; "
        f"an offence until then starts the wait again, another quarantine lasts {twice}"
    )
