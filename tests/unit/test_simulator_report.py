from __future__ import annotations

import re
import sys
from functools import cache
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer_agent.errors import AgentError, DataError
from gossamer_simulator.page import render_page
from gossamer_simulator.plots import by_attack, spread
from gossamer_simulator.report import write_report
from gossamer_simulator.results import Subject, parse_result
from gossamer_simulator.testing import example_result

pytestmark = pytest.mark.slow

MANY = ("gaussian", "alie", "noisy-alie", "label-flipping", "a-very-long-name-of-an-attack", "ipm")
RESULTS: dict[str, dict[str, Any]] = {
    "usual": {},
    "large": {"honest": 140, "attackers": 60, "rounds": 150, "attacks": MANY},
    "small": {"honest": 2, "attackers": 1, "rounds": 2},
    "one round": {"honest": 1, "attackers": 0, "rounds": 1},
    "crowded": {"honest": 14, "attackers": 6, "rounds": 1000, "attacks": MANY},
}


def page(tmp_path: Path, raw: dict[str, Any]) -> str:
    path = tmp_path / "report.html"
    write_report(raw, path)
    return path.read_text(encoding="utf-8")


@cache
def example_page(kind: str) -> str:
    """The page of one of RESULTS; drawing it takes most of a second, so once must do."""
    return render_page(parse_result(example_result(**RESULTS[kind])))


class Tags(HTMLParser):
    """Collects start tags and checks that what is opened is closed in order."""

    VOID = frozenset({"meta", "br", "img", "link", "hr", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def tags(text: str) -> Tags:
    parsed = Tags()
    parsed.feed(text)
    parsed.close()
    assert parsed.open == []
    return parsed


def card(text: str, label: str) -> str:
    match = re.search(rf"<dt>{label}</dt>\s*<dd class=\"figure\">(.*?)</dd>", text)
    assert match is not None
    return re.sub(r"<span.*?</span>", "", match[1]).strip()


def test_a_run_without_a_trace_is_not_called_a_simulation(tmp_path: Path) -> None:
    raw = example_result()
    assert "Gossamer simulation" in page(tmp_path, raw)
    del raw["trace_hash"]
    text = page(tmp_path, raw)
    assert "Gossamer swarm" in text
    assert "simulat" not in text
    assert "virtual time" not in text


def test_headline_figures_are_those_of_the_result(tmp_path: Path) -> None:
    text = page(tmp_path, example_result())
    assert card(text, "Swarm") == "94.1%"
    assert card(text, "Alone") == "61.2%"
    assert card(text, "Central") == "97.2%"
    assert card(text, "Plain mean") == "10.0%"
    assert card(text, "Log") == "Verified"
    assert "14 honest peers against 6 attackers, 40 rounds" in text


def test_captions_say_what_to_see() -> None:
    text = example_page("usual")
    assert "32.9 points more than devices that learn alone" in text
    assert "the plain mean ends at 10.0% under the same attack" in text
    assert "round 1 is the dearest" in text
    assert "3,027 messages were refused" in text
    assert "alie and sign-flipping had to be held by the merge alone" not in text
    assert "alie had to be held by the merge alone" in text


def test_a_broken_log_is_said_in_words(tmp_path: Path) -> None:
    raw = example_result()
    raw["ledger"]["verified"] = False
    assert card(page(tmp_path, raw), "Log") == "Broken"


def test_what_nobody_asked_for_is_left_out(tmp_path: Path) -> None:
    raw = example_result()
    for part in ("baselines", "quarantine", "reputation", "ledger", "gate", "cpu_seconds"):
        del raw[part]
    raw["refused"] = {}
    raw["bytes"]["per_round"] = []
    text = page(tmp_path, raw)
    headings = re.findall(r"<h2[^>]*>(.*?)</h2>", text)
    assert headings == ["Accuracy", "Cost", "Settings"]
    assert "<dt>Alone</dt>" not in text
    tags(text)


@pytest.mark.parametrize("kind", RESULTS)
def test_the_page_is_well_formed_and_needs_nothing_else(kind: str) -> None:
    text = example_page(kind)
    seen = tags(text).seen
    assert not {tag for tag, _ in seen} & {"script", "link", "iframe", "object"}
    for tag, attributes in seen:
        for name, value in attributes.items():
            if name in ("src", "href", "xlink:href"):
                assert (value or "").startswith(("#", "data:image/png")), (tag, name)
    assert "nan" not in re.sub(r"data:image/png;base64,[^\"]*", "", text).lower().split()
    assert len(text) < 1_500_000


@pytest.mark.parametrize("kind", RESULTS)
def test_ids_are_unique_and_references_resolve(kind: str) -> None:
    text = example_page(kind)
    ids = [a["id"] for _, a in tags(text).seen if "id" in a]
    assert len(ids) == len(set(ids))
    referred = re.findall(r"(?:url\(#|href=\"#|aria-labelledby=\")([^\"')]+)", text)
    assert set(referred) <= set(ids)


def test_each_plot_has_a_text_in_its_place_and_its_numbers() -> None:
    seen = tags(example_page("usual")).seen
    figures = [a for tag, a in seen if tag == "figure"]
    images = [a for _, a in seen if a.get("role") == "img"]
    assert len(figures) == 4
    assert len(images) == 2 + 4 + 2 + 2
    assert all(len(a["aria-label"] or "") > 40 for a in images)
    assert sum(tag == "details" for tag, _ in seen) == 5
    assert all(a.get("aria-hidden") == "true" for tag, a in seen if tag == "svg")


def svgs(text: str) -> list[ElementTree.Element]:
    drawings = re.findall(r"<div class=\"drawing[^>]*>(<svg.*?</svg>)", text, flags=re.DOTALL)
    return [ElementTree.fromstring(d.replace("xlink:href", "href")) for d in drawings]


def boxes(svg: ElementTree.Element) -> list[tuple[str, float, float, float, float]]:
    """(text, left, right, top, bottom) of each label, with a wide font's widths."""
    found = []
    for element in svg.iter("text"):
        style, text = element.attrib["style"], element.text or ""
        assert "12px" in style
        width = 6.9 * len(text)
        x, y = float(element.attrib["x"]), float(element.attrib["y"])
        anchor = re.search(r"text-anchor: (\w+)", style)
        shift = {"start": 0.0, "middle": 0.5, "end": 1.0}[anchor[1] if anchor else "start"]
        left = x - shift * width
        found.append((text, left, left + width, y - 10, y + 2))
    return found


@pytest.mark.parametrize("kind", RESULTS)
def test_labels_never_overlap_and_stay_inside(kind: str) -> None:
    drawings = svgs(example_page(kind))
    assert len(drawings) >= 8
    for svg in drawings:
        labels = boxes(svg)
        assert labels
        width, height = (float(v) for v in svg.attrib["viewBox"].split()[2:])
        for i, (text, left, right, top, bottom) in enumerate(labels):
            assert left >= -1, text
            assert right <= width + 1, text
            assert top >= -1, text
            assert bottom <= height + 1, text
            for other, *box in labels[:i]:
                apart = left >= box[1] or right <= box[0] or top >= box[3] or bottom <= box[2]
                assert apart, (text, other)


def test_drawings_take_their_colours_from_the_theme() -> None:
    text = example_page("usual")
    for svg in re.findall(r"<svg aria-hidden=\"true\" width.*?</svg>", text, flags=re.DOTALL):
        assert not re.search(r"(fill|stroke): #", svg)
        assert "var(--" in svg
        assert "DejaVu" not in svg


def test_the_same_result_gives_the_same_bytes(tmp_path: Path) -> None:
    assert page(tmp_path, example_result()) == example_page("usual")


def test_names_from_the_result_are_text_not_markup(tmp_path: Path) -> None:
    hostile = "<script>alert('$x$')</script>"
    raw = example_result(attacks=[hostile])
    raw["config"] = {"data": hostile, "nested": {"a": [1, "<b>"]}, hostile: 1}
    raw["refused"] = {hostile: 3, "$\\frac$": 2}
    raw["warnings"] = [hostile]
    raw["trace_hash"] = hostile
    raw["reputation"]["peers"][0]["name"] = hostile
    text = page(tmp_path, raw)
    assert "<script" not in text
    assert "<b>" not in text
    tags(text)


def test_gaps_in_the_measurements(tmp_path: Path) -> None:
    raw = example_result(rounds=6)
    raw["accuracy"]["per_round"] = [None, 0.2, None, None, 0.6, None]
    raw["accuracy"]["per_round_min"] = raw["accuracy"]["per_round_max"] = []
    raw["baselines"]["mean_rule"]["per_round"] = [None] * 6
    raw["reputation"]["per_round"] = [[None] * 20 for _ in range(6)]
    text = page(tmp_path, raw)
    assert "nobody was scored in the last round" in text
    assert "band" not in re.findall(r"<p class=\"caption\">(.*?)</p>", text)[0]


def test_paths_that_cannot_be_written_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match=r"cannot be written to '.*': No such file"):
        write_report(example_result(rounds=1), tmp_path / "missing" / "report.html")
    with pytest.raises(AgentError, match="Is a directory"):
        write_report(example_result(rounds=1), tmp_path)


def test_malformed_results_write_nothing(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    with pytest.raises(DataError):
        write_report({"accuracy": {}}, path)
    assert not path.exists()


def test_missing_plotting_packages_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "gossamer_simulator.page", raising=False)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(AgentError, match=r"needs jinja2; .* 'gossamer\[sim\]'"):
        write_report(example_result(), tmp_path / "report.html")


@given(st.lists(st.floats(-50, 250), max_size=12), st.floats(0, 20))
def test_spread_keeps_order_and_gap_inside_the_bounds(places: list[float], gap: float) -> None:
    moved = spread(places, gap, 0.0, 200.0)
    assert all(-1e-9 <= place <= 200 + 1e-9 for place in moved)
    ordered = [moved[i] for i in sorted(range(len(places)), key=places.__getitem__)]
    fitting = min(gap, 200 / max(len(places) - 1, 1))
    assert all(b - a >= fitting - 1e-9 for a, b in pairwise(ordered))


def test_spread_moves_nothing_that_is_apart() -> None:
    assert spread([150.0, 20.0, 80.0], 17, 0, 200) == [150.0, 20.0, 80.0]


def test_peers_are_sorted_honest_first_then_by_kind() -> None:
    peers = [
        Subject(name=n, attack=a) for n, a in [("d", "x"), ("c", None), ("b", "a"), ("a", None)]
    ]
    assert by_attack(peers) == [3, 1, 2, 0]
