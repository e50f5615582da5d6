"""Profiles load, inherit, and say in one line what is wrong with them."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripts.profile_tables import keys_table, values_table

from gossamer_agent.errors import ConfigError
from gossamer_agent.profile import Budget, Link, Profile, Speed, list_profiles, load_profile

DOCS = Path(__file__).parents[2] / "docs" / "profiles.md"

WHOLE = """
title = "A board"
figures = "measured"
threads = 2
memory_mb_max = 256
batch_max = 16
local_steps_max = 32
view_size = 8
round_interval_s = 2.5
announce_interval_s = 15

[budget]
network_mb_per_day = 100
flash_mb_per_day = 50.5
blobs_mb = 0

[thermal]
pause_above_celsius = 70
resume_below_celsius = 60

[memory]
pause_above_percent = 10
resume_below_percent = 3

[battery]
pause_below_percent = 0
resume_above_percent = 1

[duty]
hours = ["22:00-06:00"]
mains_only = true
idle_only = false
idle_load_max = 0.5

[unit]
devices = ["/dev/vcio"]

[speed]
train_step_ms = 1
merge_ms_per_million_values = 1000
verify_ms = 0.5
seal_ms = 0.2

[link]
latency_ms = 0
bandwidth_kbit_s = 8000
"""


def write(folder: Path, text: str, name: str = "board.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


class TestBuiltIn:
    def test_the_documented_classes_are_there(self) -> None:
        names = ("generic-aarch64", "pi-3b", "pi-4", "pi-5", "pi-zero-2w", "x86-64")
        assert list_profiles() == names

    @pytest.mark.parametrize("name", list_profiles())
    def test_loads_and_admits_that_it_is_an_estimate(self, name: str) -> None:
        profile = load_profile(name)
        assert profile.name == name
        assert profile.figures == "estimate"

    def test_slower_boards_have_slower_figures(self) -> None:
        order = ("x86-64", "pi-5", "pi-4", "pi-3b", "pi-zero-2w")
        speeds = [load_profile(name).speed for name in order]
        for spec in fields(Speed):
            figures = [getattr(speed, spec.name) for speed in speeds]
            assert figures == sorted(figures), spec.name

    @pytest.mark.parametrize("name", list_profiles())
    def test_inherits_from_the_base(self, name: str) -> None:
        found = load_profile(name)
        while found.base is not None and found.base != "base":
            found = load_profile(found.base)
        assert found.base == "base"

    def test_smaller_boards_have_smaller_limits(self) -> None:
        order = ("pi-zero-2w", "pi-3b", "pi-4", "pi-5", "x86-64")
        profiles = [load_profile(name) for name in order]
        for key in ("memory_mb_max", "batch_max", "local_steps_max", "view_size"):
            limits = [getattr(profile, key) for profile in profiles]
            assert limits == sorted(limits), key
        for spec in fields(Budget):
            limits = [getattr(profile.budget, spec.name) for profile in profiles]
            assert limits == sorted(limits), spec.name

    def test_a_pi_pauses_before_its_firmware_slows_it_down_at_80_degrees(self) -> None:
        for name in ("pi-zero-2w", "pi-3b", "pi-4", "pi-5", "generic-aarch64"):
            assert load_profile(name).thermal.pause_above_celsius <= 75

    @pytest.mark.parametrize("name", list_profiles())
    def test_a_day_of_default_rounds_is_within_the_budget(self, name: str) -> None:
        found = load_profile(name)
        rounds = 86_400 / found.round_interval_s
        assert rounds * 16e3 < 0.5 * found.budget.network_mb_per_day * 1e6
        # Of docs/durability.md: a round, and every save and batch that the clock allows.
        flash_mb = (rounds * 33_376 + 24 * 2_575_848) / 1e6
        assert flash_mb < 0.95 * found.budget.flash_mb_per_day
        row = f"| `{name}` | {rounds:,.0f} | ".replace(",", " ")
        (told,) = (line for line in DOCS.read_text().splitlines() if line.startswith(row))
        assert told.split("|")[5].strip() == f"{flash_mb:.0f}"

    def test_the_documentation_has_the_tables_of_the_code(self) -> None:
        text = DOCS.read_text(encoding="utf-8")
        for table in (keys_table(), values_table()):
            assert "\n".join(table) in text, "run: python -m scripts.profile_tables"


class TestFiles:
    def test_loads_a_file(self, tmp_path: Path) -> None:
        profile = load_profile(write(tmp_path, WHOLE))
        assert (profile.name, profile.title, profile.base) == ("board", "A board", None)
        assert profile.round_interval_s == 2.5
        assert profile.speed.train_step_ms == 1.0
        assert profile.link == Link(latency_ms=0.0, bandwidth_kbit_s=8000.0)
        assert profile.budget.flash_mb_per_day == 50.5
        assert (profile.duty.hours, profile.unit.devices) == (("22:00-06:00",), ("/dev/vcio",))

    def test_inherits_what_it_does_not_say(self, tmp_path: Path) -> None:
        path = write(tmp_path, 'base = "pi-4"\nthreads = 1\n[speed]\nseal_ms = 9\n')
        base, own = load_profile("pi-4"), load_profile(path)
        assert (own.name, own.base, own.threads) == ("board", "pi-4", 1)
        assert own.speed.seal_ms == 9.0
        assert own.speed.verify_ms == base.speed.verify_ms
        assert own.link == base.link

    def test_inherits_from_a_file_beside_it(self, tmp_path: Path) -> None:
        (tmp_path / "deep").mkdir()
        write(tmp_path, WHOLE, "base.toml")
        path = write(tmp_path / "deep", 'base = "../base.toml"\ntitle = "Two"\n')
        assert load_profile(path).memory_mb_max == 256
        assert load_profile(str(path)).title == "Two"

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("threads = 2", "", "'threads' is missing; with base = \"base\" it is inherited"),
            ("network_mb_per_day = 100", "network_mb_per_day = -1", "from 0.01 to 10,000,000"),
            ('"22:00-06:00"', '"22-6"', "hours '22-6' is no span of hours"),
            ("resume_below_celsius = 60", "resume_below_celsius = 70", "must be below pause_above"),
            (
                "resume_above_percent = 1",
                "resume_above_percent = 1\nx = 1",
                r"\[battery\]: unknown",
            ),
            ("pause_below_percent = 0", "pause_below_percent = 1", "must be above pause_below"),
            ('"/dev/vcio"', '"/etc/shadow"', "is no device"),
            ('"/dev/vcio"', '"/dev/../etc"', "is no device"),
            ('"/dev/vcio"', '"/dev/x y"', "is no device"),
            ("threads = 2", "threads = 2\ncolour = 1", "unknown key 'colour'; known are"),
            ("threads = 2", "threads = 0", "threads must be a whole number from 1 to 64, not 0"),
            ("threads = 2", "threads = -1", "from 1 to 64, not -1"),
            ("threads = 2", "threads = true", "threads must be a whole number"),
            ("threads = 2", "threads = 2.0", "threads must be a whole number"),
            ("threads = 2", 'threads = "2"', "threads must be a whole number"),
            ("threads = 2", 'threads = 2\nname = "x"', "unknown key 'name'"),
            ("threads = 2", "threads = 2\nbase = 7", "base must be the name or path"),
            ("memory_mb_max = 256", "memory_mb_max = -5", "from 64 to 1,048,576, not -5"),
            ("= 2.5", "= nan", "round_interval_s must be a number from 0.1 to 86,400, not nan"),
            ("= 2.5", "= inf", "not inf"),
            ("= 2.5", "= false", "round_interval_s must be a number"),
            ('"measured"', '"guessed"', "figures must be 'estimate' or 'measured'"),
            ('"A board"', '""', "title must be a text of 1 to 80 characters"),
            ('"A board"', '"a\\nb"', "title must hold printable characters"),
            ("seal_ms = 0.2", "", r"\[speed\]: the key 'seal_ms' is missing"),
            ("seal_ms = 0.2", "seal_ms = 0", r"\[speed\]: seal_ms must be a number from 0.001"),
            ("seal_ms = 0.2", "seal_ms = 1\nopen_ms = 1", r"\[speed\]: unknown key 'open_ms'"),
            ("threads = 2", "threads = [", "not a TOML file"),
            ("threads = 2", "threads = 2\nthreads = 2", "not a TOML file"),
            ("threads = 2", "x = " + "[" * 20_000, "not a TOML file"),
            ("threads = 2", "# " + "x" * 70_000, "larger than 65536 bytes"),
        ],
    )
    def test_says_what_is_wrong(self, tmp_path: Path, old: str, new: str, message: str) -> None:
        assert old in WHOLE
        path = write(tmp_path, WHOLE.replace(old, new))
        with pytest.raises(ConfigError, match=message) as caught:
            load_profile(path)
        text = str(caught.value)
        assert text.startswith(str(path))
        assert "\n" not in text

    def test_a_table_cannot_be_a_number(self, tmp_path: Path) -> None:
        path = write(tmp_path, 'base = "pi-4"\nspeed = 3\n')
        with pytest.raises(ConfigError, match=r"speed must be a table, written \[speed\]"):
            load_profile(path)

    def test_a_circle_of_bases_ends(self, tmp_path: Path) -> None:
        write(tmp_path, 'base = "b.toml"\n', "a.toml")
        write(tmp_path, 'base = "a.toml"\n', "b.toml")
        with pytest.raises(ConfigError, match="circle"):
            load_profile(tmp_path / "a.toml")

    @pytest.mark.parametrize("name", ["pi-9", "", "..", "../pi-4", "models/models"])
    def test_an_unknown_name_lists_the_known_ones(self, name: str) -> None:
        with pytest.raises(ConfigError, match=r"use generic-aarch64, .*x86-64"):
            load_profile(name)

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="No such file"):
            load_profile(tmp_path / "gone.toml")

    def test_a_file_that_is_not_text(self, tmp_path: Path) -> None:
        path = tmp_path / "board.toml"
        path.write_bytes(b"\xff\xfe\x00")
        with pytest.raises(ConfigError, match="not a TOML file"):
            load_profile(path)

    @pytest.mark.slow
    @given(raw=st.binary(max_size=200))
    def test_any_bytes_are_a_profile_or_a_config_error(
        self, tmp_path_factory: pytest.TempPathFactory, raw: bytes
    ) -> None:
        path = tmp_path_factory.getbasetemp() / "any.toml"
        path.write_bytes(b'base = "pi-4"\n' + raw)
        try:
            profile = load_profile(path)
        except ConfigError as error:
            assert len(str(error).splitlines()) == 1
        else:
            assert isinstance(profile, Profile)
