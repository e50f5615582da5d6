"""`gossamer profile check`: every mistake with its file, its line and what is allowed."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer_agent.errors import ConfigError
from gossamer_agent.profile import list_profiles, load_profile
from gossamer_agent.profile.checking import Finding, check_profile
from gossamer_agent.profile.keys import all_keys
from gossamer_agent.tables import ALLOWED

Check = Callable[[str], list[Finding]]


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Check:
    """Checks a text below two lines of head: its own first line is the third."""
    monkeypatch.chdir(tmp_path)

    def checked(text: str) -> list[Finding]:
        Path("my.toml").write_text(f'base = "pi-4"\n\n{text}', encoding="utf-8")
        return check_profile("my.toml")[1]

    return checked


def one(findings: list[Finding]) -> Finding:
    (found,) = findings
    assert (found.file, "\n" in str(found)) == ("my.toml", False)
    assert str(found) == f"my.toml:{found.line}: {found.text}"
    return found


@pytest.mark.parametrize("name", [*list_profiles(), "base"])
def test_the_built_in_profiles_are_right(name: str) -> None:
    assert check_profile(name) == (load_profile(name), [])


class TestUnits:
    @pytest.mark.parametrize(
        ("text", "line", "meant"),
        [
            ("round_interval_ms = 60000", 3, "round_interval_s is meant: a number from 0.1 to 86"),
            ("round_interval = 60", 3, "round_interval_s is meant: a number from 0.1 to 86,400"),
            ("memory_gb_max = 1", 3, "memory_mb_max is meant: a whole number from 64 to 1,048,576"),
            ("[budget]\nnetwork_kb_per_day = 1", 4, "network_mb_per_day is meant: a number from"),
            ("[budget]\n\nflash_mb_per_year = 1", 5, "flash_mb_per_day is meant: a number"),
            ("[budget]\nblobs_bytes = 1", 4, "blobs_mb is meant: a whole number from 0 to 1,"),
            (
                "[thermal]\npause_above_fahrenheit = 158",
                4,
                "pause_above_celsius is meant: a number",
            ),
            ("[memory]\npause_above = 10", 4, "pause_above_percent is meant: a number from 1"),
            ("[battery]\nresume_above_fraction = 0.5", 4, "resume_above_percent is meant"),
            ("[speed]\ntrain_step_us = 200", 4, "train_step_ms is meant: a number from 0.001"),
            ("speed.verify_s = 0.1", 3, "verify_ms is meant: a number from 0.001 to 10,000"),
            ("[link]\nbandwidth_mbit_s = 20", 4, "bandwidth_kbit_s is meant: a number from 1"),
        ],
    )
    def test_a_wrong_unit_names_the_key_that_is_meant(
        self, check: Check, text: str, line: int, meant: str
    ) -> None:
        found = one(check(text))
        assert found.line == line
        assert meant in found.text
        assert "unit" in found.text
        assert found.allowed in found.text

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("thread = 2", "unknown key 'thread', perhaps threads is meant: a whole number"),
            ("hours = []", "unknown key 'hours', perhaps [duty] hours is meant: a list of at most"),
            ("[budgets]\nblobs_mb = 1", "perhaps budget is meant: a table, written [budget]"),
            ("[duty]\nmains = true", "perhaps mains_only is meant: true or false"),
            ("[link]\ntrain_step_ms = 1", "perhaps [speed] train_step_ms is meant"),
            ("colour = 1", "unknown key 'colour'; known here are title, base, figures, threads"),
            ("[duty]\ncolour = 1", "known here are hours, mains_only, idle_only, idle_load_max"),
            ('name = "x"', "unknown key 'name'; the file's own name is the name"),
            ('"a\\nb" = 1', r"unknown key 'a\nb'"),
        ],
    )
    def test_an_unknown_key(self, check: Check, text: str, said: str) -> None:
        assert said in one(check(text)).text


class TestValues:
    @pytest.mark.parametrize(
        ("text", "line", "said"),
        [
            ("threads = 0", 3, "threads must be a whole number from 1 to 64, not 0"),
            ("threads = 1.5", 3, "threads must be a whole number"),
            ('threads = "2"', 3, "threads must be a whole number"),
            ("[budget]\n\n# -\nnetwork_mb_per_day = -5", 6, "from 0.01 to 10,000,000, not -5"),
            ("budget = { blobs_mb = -1 }", 3, "[budget] blobs_mb must be a whole number from 0"),
            ("[budget]\nflash_mb_per_day = nan", 4, "flash_mb_per_day must be a number"),
            ("budget = 7", 3, "budget must be a table, written [budget]"),
            ('[duty]\nhours = ["9-17"]', 4, "hours '9-17' is no span of hours such as"),
            ('[duty]\nhours = ["22:00-25:00"]', 4, "is no span of hours"),
            ('[duty]\nhours = ["22:60-23:00"]', 4, "is no span of hours"),
            ('[duty]\nhours = ["06:00-06:00"]', 4, "is an empty span"),
            ('[duty]\nhours = "22:00-06:00"', 4, "hours must be a list of at most 8 texts"),
            ("[duty]\nmains_only = 1", 4, "mains_only must be true or false, not 1"),
            ('[unit]\ndevices = ["vcio"]', 4, 'is no device such as "/dev/vcio"'),
            ("title = 'a\\b'\nthreads = -1", 4, "threads must be"),
        ],
    )
    def test_a_wrong_value(self, check: Check, text: str, line: int, said: str) -> None:
        found = one(check(text))
        assert found.line == line
        assert said in found.text

    @pytest.mark.parametrize(
        ("text", "line", "said"),
        [
            (
                "[thermal]\nresume_below_celsius = 75",
                4,
                "[thermal] resume_below_celsius must be below pause_above_celsius, 75, not 75",
            ),
            (
                "[thermal]\npause_above_celsius = 60",
                4,
                "resume_below_celsius must be below pause_above_celsius, 60, not 65",
            ),
            ("[memory]\nresume_below_percent = 99", 4, "must be below pause_above_percent, 20"),
            ("[battery]\nresume_above_percent = 30", 4, "must be above pause_below_percent, 30"),
        ],
    )
    def test_thresholds_that_contradict_each_other(
        self, check: Check, text: str, line: int, said: str
    ) -> None:
        found = one(check(text))
        assert (found.line, said in found.text) == (line, True)

    def test_tells_everything_at_once_in_the_order_of_the_lines(self, check: Check) -> None:
        findings = check(
            "threads = 0\ncolour = 1\n[budget]\nblobs_mb = -1\n[thermal]\nresume_below_celsius = 99"
        )
        assert [found.line for found in findings] == [3, 4, 6, 8]
        assert [found.key for found in findings] == [
            "threads",
            "colour",
            "budget.blobs_mb",
            "thermal.resume_below_celsius",
        ]

    def test_a_flood_of_keys_is_cut_off(self, check: Check) -> None:
        assert len(check("".join(f"k{number} = 1\n" for number in range(4000)))) == 100


class TestBases:
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.chdir(tmp_path)
        return tmp_path

    def write(self, **files: str) -> None:
        for name, text in files.items():
            Path(f"{name}.toml").write_text(text, encoding="utf-8")

    def lines(self, name: str = "a.toml") -> list[str]:
        return [str(found) for found in check_profile(name)[1]]

    def test_a_circle_is_told_where_it_closes(self) -> None:
        self.write(a='base = "b.toml"\n', b='# b\nbase = "c.toml"\n', c='\n\nbase = "./a.toml"\n')
        assert self.lines() == ["c.toml:3: base: a circle, as a.toml inherits from this file"]

    def test_itself(self) -> None:
        self.write(a='base = "a.toml"\n')
        assert self.lines() == ["a.toml:1: base: the profile inherits from itself"]

    def test_too_many(self) -> None:
        names = [chr(ord("a") + number) for number in range(12)]
        self.write(**{name: f'base = "{over}.toml"' for name, over in pairwise(names)})
        assert self.lines() == ["i.toml:1: base: more than 8 in a row"]

    @pytest.mark.parametrize(
        ("base", "said"),
        [
            ('"pi-9"', "base: no profile 'pi-9': use generic-aarch64, pi-3b"),
            ('"gone.toml"', "base: gone.toml: cannot be read: No such file"),
            ("7", "base must be a text of 1 to 256 characters"),
        ],
    )
    def test_no_such_base(self, base: str, said: str) -> None:
        self.write(a=f'title = "A"\nbase = {base}\n')
        assert self.lines()[0].startswith(f"a.toml:2: {said}")

    def test_mistakes_of_a_base_are_told_with_its_own_lines(self) -> None:
        self.write(a='base = "b.toml"\nthreads = -1\n', b='base = "pi-4"\n\nthreads = -2\n')
        assert [line.split(" ")[0] for line in self.lines()] == ["a.toml:2:", "b.toml:3:"]

    def test_a_contradiction_is_told_where_the_newest_key_is(self) -> None:
        self.write(
            a='base = "b.toml"\n', b='base = "pi-4"\n\n[thermal]\npause_above_celsius = 40\n'
        )
        assert self.lines()[0].startswith("b.toml:4: [thermal] resume_below_celsius must be below")

    def test_a_wrong_key_is_not_missing_too(self) -> None:
        whole = resources.files("gossamer_profiles").joinpath("base.toml").read_text("utf-8")
        self.write(a=whole.replace("threads = 1", "threads = 0"))
        assert len(self.lines()) == 1

    def test_without_a_base_everything_must_be_there(self) -> None:
        self.write(a='title = "A"\n\n[memory]\npause_above_percent = 10\n')
        lines = self.lines()
        expected = "a.toml:3: [memory] the key 'resume_below_percent' is missing: a number from 0"
        assert any(line.startswith(expected) for line in lines)
        assert all('with base = "base" it is inherited' in line for line in lines)

    @pytest.mark.parametrize(
        ("text", "line"), [("title = \n", 1), ("\nx = [\n1,\n", 3), ("a = 1\n\na = 2\n", 3)]
    )
    def test_what_is_no_toml(self, text: str, line: int) -> None:
        self.write(a=text)
        (found,) = self.lines()
        assert found.startswith(f"a.toml:{line}: not a TOML file")
        self.write(b='base = "a.toml"\n')
        assert self.lines("b.toml")[0] == "b.toml:1: base: a.toml is no TOML file"

    def test_a_file_that_is_not_there_is_an_error(self) -> None:
        with pytest.raises(ConfigError, match=r"gone\.toml: cannot be read"):
            check_profile("gone.toml")


SETTINGS = st.sampled_from(
    [".".join(path) for path, _ in all_keys()]
    + ["colour", "budget", "speed.x", "round_interval_ms"]
)
TEXTS = st.sampled_from(
    ["0", "-1", "1", "50", "1e9", "nan", "true", '"x"', "[]", '["22:00-06:00"]', "{}", '"pi-5"']
)


@pytest.mark.slow
@given(st.lists(st.tuples(SETTINGS, TEXTS), max_size=6, unique_by=lambda pair: pair[0]))
def test_check_and_load_agree(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    lines = [f"{key} = {value}" for key, value in pairs]
    path.write_text("\n".join(['base = "pi-4"'] * all(k != "base" for k, _ in pairs) + lines))
    try:
        loaded = load_profile(path)
    except ConfigError:
        loaded = None
    found, findings = check_profile(str(path))
    assert (loaded is None) == bool(findings)
    if loaded is not None:
        assert found == loaded
    written = path.read_text().splitlines()
    for finding in findings:
        if finding.file == str(path) and "is missing" not in finding.text and finding.key:
            name = finding.key.split(".")[-1]
            line = written[finding.line - 1]
            assert name in line or "must be" in finding.text, (finding, line)


def test_every_key_says_what_is_allowed() -> None:
    assert all(spec.metadata[ALLOWED] for _, spec in all_keys())
