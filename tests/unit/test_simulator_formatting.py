from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer_simulator.formatting import (
    byte_size,
    counted,
    duration,
    listed,
    percent,
    sparkline,
)


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0, "0%"),
        (0.0004, "<0.1%"),
        (0.0005, "0.1%"),
        (0.9412, "94.1%"),
        (0.9994, "99.9%"),
        (0.9996, ">99.9%"),
        (1.0, "100%"),
    ],
)
def test_percent_never_rounds_to_none_or_all(share: float, text: str) -> None:
    assert percent(share) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (999.4, "999 bytes"),
        (999.6, "1.00 kB"),
        (1_234, "1.23 kB"),
        (12_340, "12.3 kB"),
        (999_499, "999 kB"),
        (999_501, "1.00 MB"),
        (5.5e9, "5.50 GB"),
        (2e16, "20,000 TB"),
    ],
)
def test_byte_size(size: float, text: str) -> None:
    assert byte_size(size) == text


@given(st.floats(0, 1e15))
def test_byte_size_is_right_to_three_digits(size: float) -> None:
    number, unit = byte_size(size).split(" ")
    factor = {"bytes": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}[unit]
    assert float(number.replace(",", "")) * factor == pytest.approx(size, rel=0.006, abs=0.5)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (59.9, "59.9 s"), (59.96, "1:00"), (245, "4:05"), (3723, "1:02:03")],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_counted_and_listed() -> None:
    assert counted(1, "peer") == "1 peer"
    assert counted(1204, "entry", "entries") == "1,204 entries"
    assert [listed(w) for w in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]


def test_sparkline_has_a_fixed_scale() -> None:
    assert sparkline([0.0, 0.5, 1.0], 10) == "▁▅█"
    assert sparkline([0.5, 0.51], 10) == "▅▅"
    assert sparkline([0.0, 1.0], 10, "ascii") == "_#"
    assert sparkline([], 10) == sparkline([0.3], 0) == ""


@given(st.lists(st.floats(0, 1), min_size=1, max_size=300), st.integers(1, 60))
def test_sparkline_spans_the_run_in_the_width(shares: list[float], width: int) -> None:
    assert len(sparkline(shares, width)) == min(width, len(shares))
