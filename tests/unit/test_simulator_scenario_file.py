"""Scenario files, and what the command line changes in them."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import pytest

from gossamer_agent.errors import ConfigError
from gossamer_agent.exit_codes import ExitCode
from gossamer_simulator import cli, command
from gossamer_simulator.attackers.schedule import Scheduled
from gossamer_simulator.scenario import Scenario, option_name
from gossamer_simulator.scenario_file import load_scenario

ALL = """
peers = 12
rounds = 9
byzantine = 0.25
attack = "alie:2"
data = "mine.npz"
partition = "iid"
model = "softmax"
rule = "median"
codec = "int8"
view = 5
local-steps = 3
batch = 7
lr = 1
momentum = 0
optimiser = "adam"
moments = "keep"
lr-schedule = "cosine"
anneal-rounds = 30
weight-decay = 0.001
gradient-clip = 2.0
proximal = 0.01
combine = "yogi"
combine-rate = 0.1
combine-t = 0.01
nominal-steps = 6
personal = "head"
personal-steps = 2
ditto = 0.5
early-stop = 2
follow = "useful"
stale-rounds = 6
steps-spread = 2.0
loss = 0.1
duplicate = 0.2
latency = 5
churn = 0.3
interval = 30
hours = "22:00-06:00|"
outages = 0.1
heat = 0.2
budgets = "20:50"
profile = "pi-4"
seed = 17
"""


def load(folder: Path, text: str, **given: Any) -> Scenario:
    path = folder / "my.toml"
    path.write_text(text, encoding="utf-8")
    return load_scenario(path, given)


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(folder, text)
    assert caught.value.exit_code is ExitCode.CONFIG
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(folder / "my.toml"))
    return message.removeprefix(f"{folder / 'my.toml'}: ")


def test_an_empty_file_is_the_default_scenario(tmp_path: Path) -> None:
    assert load(tmp_path, "") == Scenario()


def test_a_file_may_have_every_setting(tmp_path: Path) -> None:
    scenario = load(tmp_path, ALL)
    assert scenario == Scenario(
        peers=12,
        rounds=9,
        byzantine=0.25,
        attack="alie:2",
        data="mine.npz",
        partition="iid",
        model="softmax",
        rule="median",
        codec="int8",
        view=5,
        local_steps=3,
        batch=7,
        lr=1.0,
        momentum=0.0,
        optimiser="adam",
        moments="keep",
        lr_schedule="cosine",
        anneal_rounds=30,
        weight_decay=0.001,
        gradient_clip=2.0,
        proximal=0.01,
        combine="yogi",
        combine_rate=0.1,
        combine_t=0.01,
        nominal_steps=6,
        personal="head",
        personal_steps=2,
        ditto=0.5,
        early_stop=2,
        follow="useful",
        stale_rounds=6,
        steps_spread=2.0,
        loss=0.1,
        duplicate=0.2,
        latency_ms=5.0,
        churn=0.3,
        interval=30.0,
        hours="22:00-06:00|",
        outages=0.1,
        heat=0.2,
        budgets="20:50",
        profile="pi-4",
        seed=17,
    )
    assert type(scenario.lr) is float
    for spec in fields(Scenario):
        if spec.name != "schedule":
            assert f"\n{option_name(spec.name)} = " in ALL
            assert getattr(scenario, spec.name) != spec.default


def test_what_is_given_wins(tmp_path: Path) -> None:
    scenario = load(tmp_path, ALL, seed=3, latency_ms=80.0)
    assert (scenario.seed, scenario.latency_ms, scenario.peers) == (3, 80.0, 12)


def test_a_schedule_has_tables_in_their_order(tmp_path: Path) -> None:
    text = """
    peers = 20
    [[attack]]
    name = "gaussian:1"
    share = 0.1
    from_round = 5
    to_round = 12
    [[attack]]
    name = "sleeper:9:ipm"
    peers = 3
    """
    scenario = load(tmp_path, text)
    assert scenario.schedule == (
        Scheduled(name="gaussian:1", share=0.1, from_round=5, to_round=12),
        Scheduled(name="sleeper:9:ipm", peers=3),
    )
    assert scenario.attackers == 5
    scenario.check()
    assert load(tmp_path, text, attack="alie").schedule == ()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("peers = ", "not a TOML file: "),
        ("pears = 3", "unknown key 'pears'; known are peers, rounds, byzantine, attack, "),
        ("latency_ms = 3", "unknown key 'latency_ms'; known are "),
        ("schedule = []", "unknown key 'schedule'"),
        ("peers = 0", "peers: 0 is out of range; it must be 1 to 10000"),
        ("peers = 1.5", "peers must be a whole number, not 1.5"),
        ("peers = true", "peers must be a whole number, not True"),
        ('peers = "20"', "peers must be a whole number, not '20'"),
        (f"peers = {10**400}", "peers: 1e+30 is out of range"),
        (f"loss = {10**400}", "loss: 1e+30 is out of range"),
        ("lr = nan", "lr: nan is out of range; it must be 1e-06 to 100"),
        ("lr = true", "lr must be a number, not True"),
        ("latency = -1", "latency: -1 is out of range; it must be 0 to 60000"),
        ("local-steps = 0", "local-steps: 0 is out of range; it must be 1 to 10000"),
        ('rule = "vote"', "rule: unknown rule 'vote'"),
        ("rule = 3", "rule must be a text, not 3"),
        ('codec = "zip"', "codec: unknown codec 'zip'; choose from sign1, int8, float32"),
        ('partition = "shards"', "partition: partition 'shards' is not known"),
        ('attack = "ddos"', "attack: unknown attack 'ddos'; choose from "),
        ("attack = 3", "attack must be a text, not 3"),
        ("attack = [3]", "[[attack]] 1 must be a table"),
        ("[attack]\nname = 'nan'", "attack must be a text, not {'name': 'nan'}"),
        ("[[attack]]", "[[attack]] 1: the key 'name' is missing"),
        ("[[attack]]\nname = 'nan'", "[[attack]] 1: give either share or peers"),
        ("[[attack]]\nname = 'nan'\nshare = 0.1\npeers = 2", "[[attack]] 1: give either share or"),
        ("[[attack]]\nname = 'nan'\nshare = 2", "[[attack]] 1: share must be a number from 0 to 1"),
        ("[[attack]]\nname = 'nan'\npeers = 0", "[[attack]] 1: peers must be a whole number from"),
        ("[[attack]]\nname = 'ddos'\npeers = 1", "[[attack]] 1: unknown attack 'ddos'"),
        ("[[attack]]\nname = 'nan'\npeers = 1\nfrom = 3", "[[attack]] 1: unknown key 'from'"),
        (
            "[[attack]]\nname = 'nan'\npeers = 1\n[[attack]]\nname = 'nan'\npeers = 1\n"
            "from_round = 5\nto_round = 4",
            "[[attack]] 2: to_round 4 is before from_round 5",
        ),
        ("[[attack]]\nname = 'nan'\npeers = 1\nfrom_round = 0", "[[attack]] 1: from_round must be"),
    ],
)
def test_what_is_wrong_is_said_with_file_and_key(tmp_path: Path, text: str, line: str) -> None:
    assert refusal(tmp_path, text).startswith(line)


def test_attackers_that_never_attack_are_told_of(tmp_path: Path) -> None:
    text = "peers = 10\nrounds = 5\n"
    for settings in ("share = 0.01", "peers = 1\nfrom_round = 6"):
        text += f'[[attack]]\nname = "alie"\n{settings}\n'
    text += '[[attack]]\nname = "alie"\npeers = 1\nfrom_round = 5\n'
    warnings = load(tmp_path, text).warnings
    assert warnings == (
        "[[attack]] 1, alie: 0.01 of 10 peers rounds to none: nobody attacks",
        "[[attack]] 2, alie: begins in round 6 of 5: nobody attacks",
    )


def test_a_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere.toml: cannot be read: No such file"):
        load_scenario(tmp_path / "nowhere.toml", {})
    (tmp_path / "my.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not a TOML file"):
        load_scenario(tmp_path / "my.toml", {})


def asked(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Scenario:
    """The scenario that a command line asks for."""
    found: list[Scenario] = []
    monkeypatch.setattr(
        command, "simulate_command", lambda scenario, *_, **__: found.append(scenario)
    )
    cli.simulate.main([*arguments], standalone_mode=False)
    return found[0]


def test_the_command_line_wins_even_where_it_repeats_a_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my.toml").write_text(ALL, encoding="utf-8")
    file = ("--scenario", str(tmp_path / "my.toml"))
    assert asked(monkeypatch, *file) == load_scenario(tmp_path / "my.toml", {})
    scenario = asked(monkeypatch, *file, "--seed", "0", "--latency", "50", "--local-steps", "8")
    assert (scenario.seed, scenario.latency_ms, scenario.local_steps) == (0, 50.0, 8)
    assert scenario.rounds == 9
    assert asked(monkeypatch) == Scenario()


def test_an_option_of_another_kind_is_no_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my.toml").write_text("peers = 3", encoding="utf-8")
    assert asked(monkeypatch, "--scenario", str(tmp_path / "my.toml"), "--quiet").peers == 3
    with pytest.raises(click.UsageError):
        asked(monkeypatch, "--schedule", "x")
