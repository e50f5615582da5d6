"""What the report of a simulation says: cards, plots with captions, tables.

How it looks is in the template. Every plot has a caption that says in one
sentence what this result shows, and each is followed by its numbers as a table, for readers who
cannot see the plot and for those who want to copy it.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from gossamer_simulator import plots
from gossamer_simulator.formatting import byte_size, counted, duration, listed, percent
from gossamer_simulator.plots import HONEST, SIZES, by_attack
from gossamer_simulator.results import Reputation, Result

SERIES_ROWS_MAX = 60
"""A table of a series shows at most so many rounds, evenly spaced."""


@dataclass(frozen=True, slots=True)
class Card:
    """A headline figure. kind: "swarm", "attack", "good", "bad" or "plain", for the style sheet."""

    label: str
    figure: str
    remark: str
    kind: str
    share: float | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text; the columns from `numeric` on are right-aligned."""

    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    numeric: int = 1


@dataclass(frozen=True, slots=True)
class Plot:
    """One figure: SVG by CSS class, a caption of one sentence, and the numbers behind it."""

    key: str
    title: str
    caption: str
    drawings: Mapping[str, Markup]
    numbers: Table
    legend: Sequence[tuple[str, str]] = field(default_factory=tuple)


def render_page(result: Result) -> str:
    """The whole page as HTML text. The same result gives the same text."""
    environment = Environment(
        loader=PackageLoader("gossamer_simulator"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(
        title=_title(result),
        facts=_facts(result),
        warnings=result.warnings,
        cards=_cards(result),
        plots=list(_plots(result)),
        quarantine=_quarantine_rows(result),
        quarantine_caption=_quarantine_caption(result),
        peers=None if result.reputation is None else _peers_table(result.reputation),
        costs=_costs(result),
        settings=[(_words(key), _setting(value)) for key, value in result.config.items()],
        trace=result.trace_hash,
        light_scores=", ".join(plots.LIGHT_SCORES),
        dark_scores=", ".join(plots.DARK_SCORES),
    )


def _title(result: Result) -> str:
    rounds = counted(result.rounds, "round")
    if result.reputation is None:
        return f"A swarm learned together for {rounds}"
    attackers = sum(peer.attack is not None for peer in result.reputation.peers)
    honest = counted(len(result.reputation.peers) - attackers, "honest peer")
    if attackers:
        return f"{honest} against {counted(attackers, 'attacker')}, {rounds}"
    return f"{honest}, {rounds}"


def _facts(result: Result) -> list[str]:
    """The settings that a reader asks for first, as far as they are known."""
    config = result.config
    facts = [str(config[key]) for key in ("data", "partition", "model", "rule") if key in config]
    if "seed" in config:
        facts.append(f"seed {config['seed']}")
    return facts


def _cards(result: Result) -> list[Card]:
    accuracy, baselines = result.accuracy, result.baselines
    spread = f"{percent(accuracy.min)} to {percent(accuracy.max)} by honest peer"
    cards = [Card("Swarm", percent(accuracy.mean), spread, "swarm", accuracy.mean)]
    if baselines.local_only is not None:
        share = baselines.local_only
        cards.append(Card("Alone", percent(share), "each device by itself", "plain", share))
    if baselines.central is not None:
        share = baselines.central
        cards.append(Card("Central", percent(share), "all data in one place", "plain", share))
    if baselines.mean_rule is not None:
        share = baselines.mean_rule.mean
        remark = "same attack, no robust merge" if _attacked(result) else "no robust merge"
        cards.append(Card("Plain mean", percent(share), remark, "attack", share))
    if result.ledger is not None:
        entries = counted(result.ledger.entries, "entry", "entries")
        if result.ledger.verified:
            cards.append(Card("Log", "Verified", f"{entries}, every link checked", "good"))
        else:
            cards.append(Card("Log", "Broken", f"{entries}, the chain does not hold", "bad"))
    return cards


def _plots(result: Result) -> Iterable[Plot]:
    yield _accuracy_plot(result)
    if result.reputation is not None and result.reputation.per_round:
        yield _reputation_plot(result.reputation)
    if result.bytes.per_round:
        yield _bytes_plot(result)
    if result.refused_by_count:
        yield _refused_plot(result)


def _accuracy_plot(result: Result) -> Plot:
    accuracy, baselines = result.accuracy, result.baselines
    legend = [("swarm", f"swarm {percent(accuracy.mean)}")]
    head = ["round", "swarm", "lowest", "highest"]
    columns = [accuracy.per_round, accuracy.per_round_min, accuracy.per_round_max]
    if baselines.mean_rule is not None:
        legend.append(("attack", f"plain mean {percent(baselines.mean_rule.mean)}"))
        head.append("plain mean")
        columns.append(baselines.mean_rule.per_round)
    for name, share in (("central", baselines.central), ("alone", baselines.local_only)):
        if share is not None:
            legend.append((name, f"{name} {percent(share)}"))
    rows = [
        (f"{i + 1}", *(_share_at(column, i) for column in columns)) for i in _shown(result.rounds)
    ]
    return Plot(
        key="accuracy",
        title="Accuracy",
        caption=_accuracy_caption(result),
        drawings={size.name: Markup(plots.accuracy_plot(result, size)) for size in SIZES},  # noqa: S704
        numbers=Table(tuple(head), rows, numeric=0),
        legend=legend,
    )


def _accuracy_caption(result: Result) -> str:
    accuracy, baselines = result.accuracy, result.baselines
    parts = [f"The honest peers reach {percent(accuracy.mean)} on average"]
    if baselines.local_only is not None:
        gain = (accuracy.mean - baselines.local_only) * 100
        word = "more" if gain >= 0 else "less"
        parts.append(f"{abs(gain):.1f} points {word} than devices that learn alone")
    if baselines.mean_rule is not None:
        place = "under the same attack" if _attacked(result) else "in the same swarm"
        parts.append(f"while the plain mean ends at {percent(baselines.mean_rule.mean)} {place}")
    band = " (band: lowest to highest honest peer)" if accuracy.per_round_min else ""
    return ", ".join(parts) + band + "."


def _reputation_plot(reputation: Reputation) -> Plot:
    order = by_attack(reputation.peers)
    rounds = len(reputation.per_round)
    themes = {"light": plots.LIGHT_SCORES, "dark": plots.DARK_SCORES}
    drawings = {
        f"{size.name} {theme}": Markup(plots.reputation_plot(reputation, size, colors, theme))  # noqa: S704
        for size in SIZES
        for theme, colors in themes.items()
    }
    checkpoints = sorted({0, rounds // 4, rounds // 2, 3 * rounds // 4, rounds - 1})
    rows = [
        (
            reputation.peers[i].name,
            reputation.peers[i].attack or HONEST,
            *(_score(reputation.per_round[at][i]) for at in checkpoints),
        )
        for i in order
    ]
    head = ("peer", "kind", *(f"round {at + 1}" for at in checkpoints))
    return Plot(
        key="reputation",
        title="Reputation",
        caption=_reputation_caption(reputation),
        drawings=drawings,
        numbers=Table(head, rows, numeric=2),
    )


def _reputation_caption(reputation: Reputation) -> str:
    last = reputation.per_round[-1]
    scored = list(zip(reputation.peers, last, strict=True))
    honest = [score for peer, score in scored if peer.attack is None and score is not None]
    liars = [score for peer, score in scored if peer.attack is not None and score is not None]
    parts = []
    if honest:
        parts.append(f"honest peers end at {statistics.fmean(honest):.2f} on average")
    if liars:
        parts.append(f"attackers at {statistics.fmean(liars):.2f}")
    if not parts:
        return "Mean score that honest peers give; nobody was scored in the last round."
    text = ", ".join(parts)
    gaps = any(score is None for row in reputation.per_round for score in row)
    blank = " (blank: observed by nobody)" if gaps else ""
    return f"{text[0].upper()}{text[1:]}, as scored by the honest peers that observe them{blank}."


def _bytes_plot(result: Result) -> Plot:
    sent = result.bytes.per_round
    median = statistics.median(sent)
    dearest = max(range(len(sent)), key=sent.__getitem__)
    caption = f"A peer sends {byte_size(result.bytes.per_peer_round)} in a round on average"
    if median > 0 and sent[dearest] >= 1.5 * median:
        times = sent[dearest] / median
        caption += f"; round {dearest + 1} is the dearest, at {times:.1f} times the median round"
    return Plot(
        key="bytes",
        title="Bytes sent",
        caption=f"{caption} (shown: all honest peers together).",
        drawings={size.name: Markup(plots.bytes_plot(result, size)) for size in SIZES},  # noqa: S704
        numbers=Table(
            ("round", "all honest peers"),
            [(f"{i + 1}", byte_size(sent[i])) for i in _shown(len(sent))],
            numeric=0,
        ),
    )


def _refused_plot(result: Result) -> Plot:
    rows = result.refused_by_count
    reason, count = rows[0]
    total = result.refused_total
    caption = (
        f"{counted(total, 'message was', 'messages were')} refused before they could change "
        f"anything, {percent(count / total)} of them as {reason}."
    )
    return Plot(
        key="refused",
        title="Refused messages",
        caption=caption,
        drawings={size.name: Markup(plots.refused_plot(result, size)) for size in SIZES},  # noqa: S704
        numbers=Table(
            ("reason", "messages", "share"),
            [(name, f"{number:,}", percent(number / total)) for name, number in rows],
        ),
    )


def _quarantine_rows(result: Result) -> list[tuple[str, str, float, str, bool]]:
    """(kind, peers, share shut out, the share as text, honest?) with the honest peers first."""
    quarantine = result.quarantine
    if quarantine is None:
        return []
    peers = result.reputation.peers if result.reputation else ()
    honest = f"{sum(peer.attack is None for peer in peers):,}" if peers else ""
    rate = quarantine.honest_rate
    rows = [(HONEST, honest, rate, percent(rate), True)]
    for attack, found in sorted(quarantine.by_attack.items()):
        rows.append((attack, f"{found.peers:,}", found.rate, percent(found.rate), False))
    return rows


def _quarantine_caption(result: Result) -> str:
    quarantine = result.quarantine
    if quarantine is None:
        return ""
    honest = quarantine.honest_rate
    wrongly = "no honest peer is" if honest == 0 else f"{percent(honest)} of honest ones are"
    if not quarantine.by_attack:
        return f"There were no attackers; at the end {wrongly} shut out."
    missed = [attack for attack, found in quarantine.by_attack.items() if found.rate < 0.5]
    rest = f"; {listed(sorted(missed))} had to be held by the merge alone" if missed else ""
    rightly = percent(quarantine.byzantine_rate)
    return (
        f"At the end honest peers have shut out {rightly} of the attackers that they observe, "
        f"and {wrongly} shut out wrongly{rest}."
    )


def _peers_table(reputation: Reputation) -> Table:
    last = reputation.per_round[-1] if reputation.per_round else ()
    rows = [
        (
            reputation.peers[i].name,
            reputation.peers[i].attack or HONEST,
            _score(last[i]) if last else "",
        )
        for i in by_attack(reputation.peers)
    ]
    return Table(("peer", "kind", "score at the end"), rows, numeric=2)


def _costs(result: Result) -> list[tuple[str, str]]:
    rows = [
        ("sent per peer and round", byte_size(result.bytes.per_peer_round)),
        ("sent by honest peers", byte_size(result.bytes.total)),
        ("messages", f"{result.messages:,}"),
        ("refused messages", f"{result.refused_total:,}"),
    ]
    if result.gate is not None:
        rows.append(("merges", f"{result.gate.merges:,}"))
        rows.append(("merges that the gate refused", f"{result.gate.refused:,}"))
    if result.cpu_seconds is not None:
        rows.append(("CPU time", duration(result.cpu_seconds)))
    if result.peak_rss_mb is not None:
        rows.append(("memory at most", byte_size(result.peak_rss_mb * 1e6)))
    return rows


def _attacked(result: Result) -> bool:
    peers = result.reputation.peers if result.reputation else ()
    by_attack_kind = result.quarantine.by_attack if result.quarantine else {}
    return bool(by_attack_kind) or any(peer.attack is not None for peer in peers)


def _shown(rounds: int) -> list[int]:
    step = max(1, -(-rounds // SERIES_ROWS_MAX))
    return sorted({*range(0, rounds, step), rounds - 1} if rounds else set())


def _share_at(series: Sequence[float | None], position: int) -> str:
    value = series[position] if position < len(series) else None
    return "—" if value is None else percent(value)


def _score(score: float | None) -> str:
    return "—" if score is None else f"{score:.2f}"


def _words(key: str) -> str:
    return key.replace("_", " ")


def _setting(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:g}"
    return json.dumps(value)
