from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from gossamer_agent.errors import DataError
from gossamer_simulator.summary import print_summary
from gossamer_simulator.testing import example_result


def printed(result: dict[str, Any], width: int = 80, encoding: str = "utf-8") -> str:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, write_through=True)
    console = Console(file=file, width=width, color_system=None, _environ={})
    print_summary(result, console)
    return raw.getvalue().decode(encoding)


def line_with(text: str, start: str) -> list[str]:
    """The words of the only line that begins with `start`."""
    (line,) = [line for line in text.splitlines() if line.strip().startswith(start)]
    return line.split()


def test_it_says_what_the_swarm_reached_and_against_what() -> None:
    text = printed(example_result())
    assert "94.1%" in line_with(text, "swarm")
    assert "92.9%" in line_with(text, "swarm")
    assert "61.2%" in line_with(text, "alone")
    assert "97.2%" in line_with(text, "central")
    assert "10.0%" in line_with(text, "plain mean")


def test_bars_are_as_long_as_the_accuracy() -> None:
    text = printed(example_result())
    assert line_with(text, "alone")[2] == "█" * 12
    assert line_with(text, "plain mean")[3] == "█" * 2


def test_it_says_who_was_shut_out_and_whether_rightly() -> None:
    text = printed(example_result())
    assert line_with(text, "honest") == ["honest", "14", "0.4%", "wrongly"]
    assert line_with(text, "gaussian") == ["gaussian", "1", "100%", "rightly"]
    assert line_with(text, "label-flipping") == ["label-flipping", "1", "86.0%", "by", "most"]
    assert line_with(text, "alie")[:5] == ["alie", "1", "41.0%", "by", "few:"]
    assert line_with(text, "all attackers")[2] == "6"


def test_a_clean_swarm_shuts_nobody_out() -> None:
    raw = example_result(attackers=0)
    raw["quarantine"]["honest_rate"] = 0.0
    text = printed(raw)
    assert line_with(text, "honest") == ["honest", "14", "0%", "rightly", "none"]
    assert "Refused messages" not in text


def test_refusals_cost_log_and_trace() -> None:
    raw = example_result()
    text = printed(raw)
    assert line_with(text, "replayed") == ["replayed", "1,812", "59.9%"]
    assert "flood" not in text
    assert "1.38 kB per peer and round" in text
    assert "verified, 1,120 entries" in text
    assert "3 of them refused by the gate" in text
    assert raw["trace_hash"] in text


def test_many_reasons_are_gathered() -> None:
    raw = example_result()
    raw["refused"] = {f"reason-{i:02d}": 100 - i for i in range(15)}
    assert line_with(printed(raw), "3 others") == ["3", "others", "261", "18.7%"]


def test_a_broken_log_is_shouted() -> None:
    raw = example_result()
    raw["ledger"]["verified"] = False
    assert "BROKEN, in 1,120 entries" in printed(raw)


def test_what_nobody_asked_for_is_left_out() -> None:
    raw = example_result()
    for part in ("baselines", "quarantine", "reputation", "ledger", "gate", "cpu_seconds"):
        del raw[part]
    text = printed(raw)
    assert "94.1%" in line_with(text, "swarm")
    for absent in ("alone", "central", "plain mean", "Quarantine", "log", "cost", "merged"):
        assert absent not in text


def test_names_are_not_markup_and_warnings_are_left_to_the_command() -> None:
    raw = example_result(attacks=["[/red]"])
    raw["warnings"] = ["no rule can protect a swarm"]
    raw["refused"] = {"[/]": 3}
    text = printed(raw)
    assert "[/red]" in text
    assert "no rule can protect" not in text


@pytest.mark.parametrize("width", [30, 46, 80, 200])
def test_lines_fit_the_console(width: int) -> None:
    assert max(map(len, printed(example_result(), width).splitlines())) <= width


def test_a_console_without_block_characters() -> None:
    assert "#" * 12 in printed(example_result(), encoding="ascii")


def test_a_malformed_result_is_refused() -> None:
    with pytest.raises(DataError, match=r"\$\.accuracy"):
        printed(example_result() | {"accuracy": 3})
