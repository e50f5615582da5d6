"""All merges of a log made again.

What this proves: the logged result is what the rule makes of the logged inputs, and the inputs are
what their authors signed. What it cannot: that the author asked everybody it should have, trained
on what it claims, or measured the losses that it logged (rules that ask for losses take those).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum

from gossamer_agent.audit.history import Event, Gap, Merging, Place
from gossamer_agent.audit.remerge import (
    Input,
    OtherVersionError,
    UnrepeatableError,
    differences,
    remerge,
    rule_of,
)
from gossamer_agent.audit.replicas import MissingInputError, Replicas
from gossamer_agent.audit.terms import Terms
from gossamer_agent.merge.result import Merged
from gossamer_crypto.envelope import Kind
from gossamer_crypto.identity import peer_id_text


class Outcome(Enum):
    REPRODUCED = "reproduced"
    MISSING = "not replayable"
    OTHER_VERSION = "made by another version of its rule"
    DIFFERS = "mismatch"


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of one merge. round: 0 where the record cannot be read; why: "" if reproduced.

    inputs, merged: where it was made again.
    """

    place: Place
    round: int
    outcome: Outcome
    why: str = ""
    merging: Merging | None = None
    inputs: tuple[Input, ...] = ()
    merged: Merged | None = None

    @property
    def committed(self) -> bool:
        return self.merging is not None and self.merging.record.committed


@dataclass(slots=True)
class LogAudit:
    """Findings of one log.

    refused: merges that the gate, or its author, did not commit. other_version: made by another
    version of the rule than this program has, so neither reproduced nor different.
    """

    merges: int = 0
    refused: int = 0
    reproduced: int = 0
    missing: list[Finding] = field(default_factory=list)
    other_version: list[Finding] = field(default_factory=list)
    mismatched: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.mismatched

    def count(self, finding: Finding) -> None:
        self.merges += 1
        self.refused += finding.merging is not None and not finding.committed
        # What is kept must not hold vectors.
        kept = Finding(finding.place, finding.round, finding.outcome, finding.why)
        match finding.outcome:
            case Outcome.REPRODUCED:
                self.reproduced += 1
            case Outcome.MISSING:
                self.missing.append(kept)
            case Outcome.OTHER_VERSION:
                self.other_version.append(kept)
            case Outcome.DIFFERS:
                self.mismatched.append(kept)


def findings(events: Iterable[Event], replicas: Replicas, terms: Terms) -> Iterator[Finding]:
    """One finding for each merge among the events of a log, in order."""
    for event in events:
        if isinstance(event, Merging):
            yield check(event, replicas, terms)
        elif isinstance(event, Gap) and event.kind is Kind.MERGE:
            yield Finding(event.place, 0, Outcome.MISSING, event.why)


def check(merging: Merging, replicas: Replicas, terms: Terms) -> Finding:
    """Make one merge again."""
    place, record = merging.place, merging.record

    def found(outcome: Outcome, why: str = "") -> Finding:
        return Finding(place, record.round, outcome, why, merging)

    wrong = _wrong_terms(merging, terms)
    if wrong:
        return found(Outcome.DIFFERS, wrong)
    try:
        rule_of(record)
        inputs = inputs_of(merging, replicas)
        merged = remerge(record, inputs, place.author, terms)
    except OtherVersionError as error:
        return found(Outcome.OTHER_VERSION, str(error))
    except MissingInputError as error:
        return found(Outcome.MISSING, str(error))
    except UnrepeatableError as error:
        return found(Outcome.DIFFERS, f"cannot be made: {error}")
    told = differences(record, merged)
    outcome = Outcome.DIFFERS if told else Outcome.REPRODUCED
    more = f"; and {len(told) - 1} more values differ" if len(told) > 1 else ""
    why = told[0] + more if told else ""
    return Finding(place, record.round, outcome, why, merging, tuple(inputs), merged)


def inputs_of(merging: Merging, replicas: Replicas) -> list[Input]:
    """The inputs of a merge. Raises MissingInputError that names the peer."""
    inputs = []
    for row in merging.record.contributors:
        try:
            vector = replicas.vector(row.peer, row.step, row.replica_hash)
        except MissingInputError as error:
            raise MissingInputError(f"{peer_id_text(row.peer)}: {error}") from None
        inputs.append(Input(row, vector))
    return inputs


def _wrong_terms(merging: Merging, terms: Terms) -> str:
    """What no honest agent would have logged, before any input is looked at; "" for nothing."""
    record, author = merging.record, merging.place.author
    if record.rule != terms.policy.rule:
        return f"the rule is {record.rule!a}, not the swarm's {terms.policy.rule!a}"
    own = [row for row in record.contributors if row.peer == author]
    if len(own) != 1:
        return "the own replica is not once among the inputs"
    if own[0].replica_hash != merging.own_hash:
        return f"the own input is not the own replica, which was at step {merging.own_step}"
    return ""
