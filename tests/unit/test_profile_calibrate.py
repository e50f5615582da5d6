"""`gossamer profile calibrate`: it measures something real and writes a profile that is right."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer_agent.errors import StoreError
from gossamer_agent.profile import Speed, load_profile
from gossamer_agent.profile.checking import check_profile
from gossamer_agent.profile.measuring import Measured, measure
from gossamer_agent.profile.writing import measured_profile

FIGURE = st.floats(0.001, 10_000)


@pytest.mark.slow
def test_measures_this_device(tmp_path: Path) -> None:
    told: list[str] = []
    measured = measure(tmp_path, 1.0, told.append)
    assert [*tmp_path.iterdir()] == []
    assert any("4,810-parameter MLP" in line for line in told)
    for spec in fields(Speed):
        # Slower than anything by a thousand times, or faster, would be a wrong unit.
        said = getattr(load_profile("x86-64").speed, spec.name)
        assert said / 1000 < getattr(measured.speed, spec.name) < said * 1000
    assert 0 < measured.open_ms < 100
    assert 0 < measured.sync_ms < 60_000
    assert 20 < measured.memory_mb < 4000
    assert 0 < measured.share < 1.5
    assert measured.load_per_core >= 0


def test_a_busy_machine_is_known_by_its_load_or_by_the_share_that_was_left() -> None:
    speed = load_profile("pi-4").speed
    figures = {"speed": speed, "open_ms": 1, "sync_ms": 1, "memory_mb": 1, "spread": 0}

    def busy(load: float, share: float) -> bool:
        return Measured(**figures, load_per_core=load, share=share).busy  # type: ignore[arg-type]

    assert not busy(0.1, 0.98)
    assert busy(2.0, 0.98)
    assert busy(0.1, 0.5)


@pytest.mark.slow
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="the disk cannot be measured: No such file"):
        measure(tmp_path / "gone", 1.0, lambda _: None)


@pytest.mark.slow
@given(
    figures=st.tuples(FIGURE, FIGURE, FIGURE, FIGURE),
    machine=st.text(st.characters(codec="utf-8"), max_size=100),
    remark=st.text(st.characters(codec="utf-8"), max_size=100),
)
def test_what_is_written_is_a_right_profile(
    tmp_path_factory: pytest.TempPathFactory,
    figures: tuple[float, float, float, float],
    machine: str,
    remark: str,
) -> None:
    names = (spec.name for spec in fields(Speed))
    speed = Speed(**dict(zip(names, figures, strict=True)))
    text = measured_profile(
        "pi-4", speed, machine=machine, remarks=[remark], own={"memory_mb_max": 300}
    )
    path = tmp_path_factory.getbasetemp() / "measured.toml"
    path.write_text(text, encoding="utf-8")
    found, findings = check_profile(str(path))
    assert findings == []
    assert found is not None
    assert (found.base, found.figures, found.memory_mb_max) == ("pi-4", "measured", 300)
    assert asdict(found.speed) == asdict(speed)
    assert found.budget == load_profile("pi-4").budget
