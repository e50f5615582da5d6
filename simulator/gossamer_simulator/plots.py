"""The report's plots: each a function from a typed result to SVG text.

Theory of operation. Every plot is drawn twice, for a phone and for a column of a wide screen,
because type that is scaled with its plot is unreadable on one of them. One unit of an SVG is one
CSS pixel. Colours are stand-ins that become CSS variables of the page (`_INK` and so on), so one
SVG serves the light and the dark theme; only the heat map, which is a bitmap, is drawn for each.
Text stays text, so it uses the page's font and can be selected and read aloud. Output depends on
the result alone: no dates, no random ids.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from gossamer_simulator.formatting import byte_size, percent
from gossamer_simulator.results import Reputation, Result, Series, Subject

_INK, _SOFT, _RULE, _SWARM, _ATTACK = (
    "#010101",
    "#020202",
    "#030303",
    "#040404",
    "#050505",
)
_VARIABLES = {
    _INK: "var(--ink)",
    _SOFT: "var(--soft)",
    _RULE: "var(--rule)",
    _SWARM: "var(--swarm)",
    _ATTACK: "var(--attack)",
}
_TEXT = 12.0
_LINE = 17.0
"""Pixels between the middles of two lines of text that do not touch."""
_GROUP_GAP = 2.0
_CHARACTER = 7.4
"""Pixels that a character needs at most on average, in the widest of the page's fonts."""

_STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": _RULE,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": _SOFT,
    "axes.labelsize": _TEXT,
    "axes.linewidth": 1.0,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": "none",
    "font.family": "DejaVu Sans",
    "font.size": _TEXT,
    "grid.color": _RULE,
    "grid.linewidth": 1.0,
    "image.composite_image": False,
    "lines.solid_capstyle": "round",
    "lines.linewidth": 2.2,
    "path.simplify": True,
    "svg.fonttype": "none",
    "svg.hashsalt": "gossamer",
    "text.color": _INK,
    "text.parse_math": False,
    "xtick.color": _SOFT,
    "xtick.labelsize": _TEXT,
    "xtick.major.size": 0.0,
    "xtick.major.pad": 6.0,
    "ytick.color": _SOFT,
    "ytick.labelsize": _TEXT,
    "ytick.major.size": 0.0,
    "ytick.major.pad": 6.0,
}


@dataclass(frozen=True, slots=True)
class Size:
    """Width of a plot in CSS pixels, and the name that the page's style sheet knows it by."""

    name: str
    width: int

    @property
    def narrow(self) -> bool:
        return self.width < 480


PHONE = Size("phone", 320)
WIDE = Size("wide", 576)
SIZES = (PHONE, WIDE)
HONEST = "honest"

LIGHT_SCORES = ("#b3401a", "#e59a76", "#efece6", "#7fb0dc", "#14599c")
DARK_SCORES = ("#ff8a57", "#a3583b", "#333a44", "#3f78b3", "#8cc4ff")
"""Scores 0, .25, .5, .75, 1; blue against orange is told apart with any kind of colour vision."""


def accuracy_plot(result: Result, size: Size) -> str:
    """Accuracy by round: the swarm with its band, the plain mean, and the baselines as lines."""
    accuracy, baselines = result.accuracy, result.baselines
    rounds = np.arange(1, result.rounds + 1)
    right = 18 if size.narrow else 122
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(size, 250 if size.narrow else 350, left=46, right=right)
        low, high = _filled(accuracy.per_round_min), _filled(accuracy.per_round_max)
        if len(low) == len(high) == len(rounds):
            axes.fill_between(rounds, low, high, color=_SWARM, alpha=0.18, linewidth=0)
        labels = []
        lines: list[tuple[str, float | None, str, tuple[int, ...]]] = [
            ("central", baselines.central, _SOFT, (6, 3)),
            ("alone", baselines.local_only, _SOFT, (1, 2)),
        ]
        for name, value, color, dashes in lines:
            if value is not None:
                axes.axhline(value, color=color, linewidth=1.5, dashes=dashes)
                labels.append((value, f"{name} {percent(value)}", color))
        if baselines.mean_rule is not None:
            mean = _filled(baselines.mean_rule.per_round)
            axes.plot(np.arange(1, len(mean) + 1), mean, color=_ATTACK, dashes=(4, 1.6))
            share = baselines.mean_rule.mean
            labels.append((share, f"plain mean {percent(share)}", _ATTACK))
        axes.plot(rounds, _filled(accuracy.per_round), color=_SWARM, linewidth=2.8)
        labels.append((accuracy.mean, f"swarm {percent(accuracy.mean)}", _SWARM))
        axes.set_ylim(0, 1.02)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        _round_axis(axes, result.rounds)
        if result.rounds > 1:
            axes.set_xlim(1, result.rounds)
        if not size.narrow:
            _end_labels(axes, labels)
        return _svg(figure, f"accuracy-{size.name}")


def bytes_plot(result: Result, size: Size) -> str:
    """Bytes that all peers sent together in each round."""
    sent = np.array(result.bytes.per_round, dtype=np.float64)
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(size, 220 if size.narrow else 260, left=66, right=18)
        edges = np.arange(len(sent) + 1) + 0.5
        axes.stairs(sent, edges, fill=True, color=_SWARM, alpha=0.28, linewidth=0)
        axes.stairs(sent, edges, color=_SWARM, linewidth=1.8, baseline=None)
        axes.set_ylim(0, max(sent.max(initial=0.0), 1.0) * 1.06)
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _axis_bytes(value)))
        _round_axis(axes, len(sent))
        return _svg(figure, f"bytes-{size.name}")


def refused_plot(result: Result, size: Size) -> str:
    """Refused messages by reason, most frequent on top, each bar with its count."""
    rows = result.refused_by_count
    counts = [count for _, count in rows]
    step = min(max(216 // len(rows), 26), 34)
    with mpl.rc_context(_STYLE):
        names = [_shortened(reason, size.width * 0.5) for reason, _ in rows]
        left = round(12 + _CHARACTER * max(map(len, names)))
        right = round(14 + _CHARACTER * len(f"{counts[0]:,}"))
        figure, axes = _figure(size, 16 + step * len(rows), left=left, right=right, top=4, bottom=8)
        places = np.arange(len(rows))
        axes.barh(places, counts, height=0.62, color=_ATTACK)
        for place, count in zip(places, counts, strict=True):
            _note(axes, (count, float(place)), f"{count:,}", (6, 0), va="center")
        axes.set_yticks(places, names)
        axes.tick_params(axis="y", colors=_INK)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(0, max(counts))
        axes.grid(visible=False)
        axes.xaxis.set_visible(False)
        axes.spines["bottom"].set_visible(False)
        return _svg(figure, f"refused-{size.name}")


def reputation_plot(reputation: Reputation, size: Size, colors: Sequence[str], theme: str) -> str:
    """Scores as a heat map: a row for each peer, honest ones on top, a column for each round."""
    order = by_attack(reputation.peers)
    scores = np.array(
        [[np.nan if s is None else s for s in row] for row in reputation.per_round],
        dtype=np.float64,
    ).reshape(-1, len(reputation.peers))
    kinds = [(a, len(list(g))) for a, g in groupby(reputation.peers[i].attack for i in order)]
    counts = [count for _, count in kinds]
    room = size.width * (0.5 if size.narrow else 0.4) - 24 - 4 * _CHARACTER
    names = [f"{_shortened(attack or HONEST, room)} {count}" for attack, count in kinds]
    bounds = _group_bounds(counts)
    left = round(24 + _CHARACTER * max(map(len, names), default=8))
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(size, round(bounds[-1]) + 54, left=left, right=18)
        colormap = LinearSegmentedColormap.from_list("scores", list(colors))
        stops = np.cumsum([0, *counts])
        for i, (attack, _) in enumerate(kinds):
            top, bottom = bounds[i], bounds[i + 1] - (_GROUP_GAP if i + 1 < len(kinds) else 0)
            axes.imshow(
                scores[:, order[stops[i] : stops[i + 1]]].T,
                cmap=colormap,
                vmin=0.0,
                vmax=1.0,
                aspect="auto",
                interpolation="none",
                extent=(0.5, len(scores) + 0.5, bottom, top),
            )
            _group_label(axes, names[i], top, bottom, _ATTACK if attack else _SWARM)
        axes.set_ylim(bounds[-1], 0)
        axes.grid(visible=False)
        axes.spines["bottom"].set_visible(False)
        axes.set_yticks([])
        _round_axis(axes, len(scores))
        return _svg(figure, f"reputation-{size.name}-{theme}")


def by_attack(peers: Sequence[Subject]) -> list[int]:
    """Positions of `peers` sorted: honest by name, then attackers by kind and name."""
    keys = [(p.attack is not None, p.attack or "", p.name) for p in peers]
    return sorted(range(len(peers)), key=keys.__getitem__)


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places moved as little as needed to be `gap` apart, in the same order, in low..high.

    If they do not fit, they are set evenly. Labels placed so never overlap while there is room.
    """
    count = len(places)
    if count < 2:
        return [min(max(place, low), high) for place in places]
    gap = min(gap, (high - low) / (count - 1))
    order = sorted(range(count), key=places.__getitem__)
    moved = [0.0] * count
    floor = low
    for position in order:
        moved[position] = max(places[position], floor)
        floor = moved[position] + gap
    ceiling = high
    for position in reversed(order):
        moved[position] = min(moved[position], ceiling)
        ceiling = moved[position] - gap
    return moved


def _figure(
    size: Size, height: int, *, left: int, right: int, top: int = 10, bottom: int = 44
) -> tuple[Figure, Axes]:
    # 72 units to the inch make a point of Matplotlib one unit of the SVG.
    figure = Figure(figsize=(size.width / 72, height / 72), dpi=72)
    axes = figure.add_axes(
        (
            left / size.width,
            bottom / height,
            (size.width - left - right) / size.width,
            (height - top - bottom) / height,
        )
    )
    axes.grid(visible=False, axis="x")
    return figure, axes


def _round_axis(axes: Axes, rounds: int) -> None:
    axes.set_xlabel("round", labelpad=6)
    axes.set_xlim(0.5, max(rounds, 1) + 0.5)
    locator = MaxNLocator(5, integer=True, steps=[1, 2, 5, 10])
    inner = [float(tick) for tick in locator.tick_values(1, max(rounds, 1))]
    step = inner[1] - inner[0] if len(inner) > 1 else 1.0
    # The last round is always named; a tick close to it would run into its number.
    ticks = [1.0, *(t for t in inner if 1 + step / 2 < t < rounds - step / 2), float(rounds)]
    axes.set_xticks(sorted({tick for tick in ticks if 1 <= tick <= rounds}))


def _end_labels(axes: Axes, labels: Sequence[tuple[float, str, str]]) -> None:
    height = axes.bbox.height
    low, high = axes.get_ylim()
    scale = height / (high - low)
    wanted = [(value - low) * scale for value, _, _ in labels]
    for place, at, (_, text, color) in zip(
        spread(wanted, _LINE, 2.0, height - 2.0), wanted, labels, strict=True
    ):
        axes.annotate(
            text,
            (axes.get_xlim()[1], low + at / scale),
            xytext=(8, place - at),
            textcoords="offset points",
            color=color,
            va="center",
            fontweight="bold" if color == _SWARM else "normal",
        )


def _group_bounds(counts: Sequence[int]) -> list[float]:
    """Where groups of rows begin and the last one ends, in pixels from the top.

    Rows are alike in all groups but for those that would be too low for the group's label.
    """
    rows = max(sum(counts), 1)
    row = min(max(310 / rows, 1.0), max(15.0, 120 / rows))
    heights = [max(count * row, _LINE) + _GROUP_GAP for count in counts] or [_LINE + _GROUP_GAP]
    ends = np.cumsum(heights)
    return [0.0, *ends[:-1].tolist(), float(ends[-1]) - _GROUP_GAP]


def _group_label(axes: Axes, name: str, top: float, bottom: float, color: str) -> None:
    """A bar beside the rows of a group, and its name."""
    beside = axes.get_yaxis_transform()
    bar = axes.plot([-0.018, -0.018], [top, bottom], transform=beside)[0]
    bar.set(color=color, linewidth=3, clip_on=False, solid_capstyle="butt")
    axes.annotate(
        name,
        (-0.018, (top + bottom) / 2),
        xycoords=beside,
        xytext=(-9, 0),
        textcoords="offset points",
        ha="right",
        va="center",
        color=color,
    )


def _shortened(name: str, pixels: float) -> str:
    """The name as far as it fits; whole names stand in the tables beside the plots."""
    room = int(pixels / _CHARACTER)
    return name if len(name) <= room else name[: room - 1] + "…"


def _note(
    axes: Axes, place: tuple[float, float], text: str, offset: tuple[int, int], va: str
) -> None:
    axes.annotate(text, place, xytext=offset, textcoords="offset points", va=va, color=_INK)


def _filled(series: Series) -> npt.NDArray[np.float64]:
    """The series with rounds that were not measured joined by straight lines; empty if none was."""
    values = np.array([np.nan if value is None else value for value in series], dtype=np.float64)
    known = np.flatnonzero(~np.isnan(values))
    if len(known) == 0:
        return np.empty(0)
    return np.interp(np.arange(len(values)), known, values[known])


def _axis_bytes(size: float) -> str:
    number, unit = byte_size(size).split(" ")
    return "0" if size == 0 else f"{float(number.replace(',', '')):g} {unit}"


def _svg(figure: Figure, name: str) -> str:
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)
    # Several plots share a page, so ids must not meet; those nobody refers to are dropped.
    used = set(re.findall(r"(?:url\(#|href=\"#)([^\"')]+)", text))
    text = re.sub(
        r" id=\"([^\"]+)\"",
        lambda match: f' id="{name}-{match[1]}"' if match[1] in used else "",
        text,
    )
    text = re.sub(r"(url\(#|href=\"#)", rf"\g<1>{name}-", text)
    for stand_in, variable in _VARIABLES.items():
        text = text.replace(stand_in, variable)
    text = re.sub(r"(font|font-family): ([^;\"']*)'DejaVu Sans'[^;\"]*", r"\1: \2var(--font)", text)
    text = re.sub(r"\n\s*", "\n", text)
    width, height = (round(72 * inches) for inches in figure.get_size_inches())
    opening = (
        f'<svg aria-hidden="true" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
    )
    return re.sub(r"<svg [^>]*>", opening, text, count=1)
