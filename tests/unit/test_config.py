"""config.toml: what is written reads back, and every mistake is one line that says where."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer_agent.device.config import (
    Config,
    DeviceSettings,
    LearningSettings,
    NetworkSettings,
    config_text,
    load_config,
    parse_config,
    write_config,
)
from gossamer_agent.errors import ConfigError
from gossamer_agent.exit_codes import ExitCode

PEER = "12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5"
DEVICE = """
[device]
name = "garden"
model = "mlp"
data = "/srv/sensors.npz"
profile = "pi-4"
"""


def config(**network: object) -> Config:
    return Config(
        device=DeviceSettings(name="garden", model="mlp", data="a.npz", profile="pi-4"),
        network=NetworkSettings(**network),  # type: ignore[arg-type]
    )


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config(text.encode(), "garden/config.toml")
    assert caught.value.exit_code is ExitCode.CONFIG
    message = str(caught.value)
    assert message.startswith("garden/config.toml: ")
    assert "\n" not in message
    return message


class TestWriting:
    def test_what_is_written_reads_back(self, tmp_path: Path) -> None:
        whole = Config(
            device=DeviceSettings(
                name='gar"den\\', model="my.tflite", data="a b.npz", test="t.npz", profile="p.toml"
            ),
            network=NetworkSettings(
                listen=("/ip4/0.0.0.0/tcp/4001", "/ip6/::/tcp/4001"),
                advertise=("/dns4/garden.example/tcp/4001",),
                mdns=("wlan0",),
                kademlia=True,
                relay=True,
                relays=(f"/ip4/203.0.113.9/tcp/4001/p2p/{PEER}",),
                announce_interval_s=0.5,
                rotate_hours=0.0,
            ),
            learning=LearningSettings(round_interval_s=1e-1, seed=7, learning_rate=1e-6),
        )
        path = tmp_path / "config.toml"
        write_config(path, whole)
        assert load_config(path) == whole

    def test_replaces_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "config.toml").write_text("mine")
        with pytest.raises(FileExistsError):
            write_config(tmp_path / "config.toml", config())

    def test_every_key_is_there_with_a_comment_above_it(self) -> None:
        tables = re.split(r"^\[(\w+)\]$", config_text(config()), flags=re.MULTILINE)[1:]
        by_name = dict(zip(tables[::2], tables[1::2], strict=True))
        for table in fields(Config):
            lines = by_name[table.name].splitlines()
            for spec in fields(getattr(config(), table.name)):
                (at,) = (
                    number
                    for number, line in enumerate(lines)
                    if re.match(rf"(# )?{spec.name} =", line)
                )
                assert re.match(r"# [A-Z].+[.]$", lines[at - 1]), spec.name

    @given(st.text(st.characters(codec="utf-8"), max_size=70))
    def test_any_name_reads_back_or_is_refused(self, name: str) -> None:
        device = DeviceSettings(name=name, model="mlp", data="a.npz", profile="pi-4")
        text = config_text(Config(device=device)).encode()
        try:
            assert parse_config(text, "x").device.name == name
        except ConfigError:
            assert not (0 < len(name) <= 64 and name.isprintable())


class TestReading:
    def test_what_is_not_said_has_a_default(self) -> None:
        found = parse_config(DEVICE.encode(), "x")
        assert found.network == NetworkSettings()
        assert found.network.announce_interval_s is None
        assert found.network.rotate_hours == 24
        assert found.learning == LearningSettings()
        assert found.device.test is None

    def test_learning_settings_make_a_training(self) -> None:
        training = LearningSettings(local_steps=3, batch=4, learning_rate=0.1).training()
        assert (training.steps, training.batch, training.momentum) == (3, 4, 0.5)

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("", "the key 'device' is missing"),
            ("device = 1", "device must be a table, written [device]"),
            ("[device]", "[device]: the key 'name' is missing"),
            (DEVICE + "colour = 1", "[device]: unknown key 'colour'; known are name, model, data"),
            (DEVICE + "[weather]", "unknown key 'weather'; known are device, network, learning"),
            (DEVICE + "[network]\nlisten = 'x'", "[network]: listen must be a list of at most 8"),
            (DEVICE + "[network]\nlisten = [4001]", "[network]: listen must be a text of 1 to 256"),
            (DEVICE + "[network]\nlisten = ['4001']", "'4001' cannot be listened at; use one like"),
            (DEVICE + "[network]\nlisten = ['/dns4/a/tcp/1']", "cannot be listened at"),
            (DEVICE + "[network]\nadvertise = ['/ip4/0.0.0.0/tcp/1']", "cannot be dialled"),
            (DEVICE + "[network]\nrelays = ['/ip4/1.2.3.4/tcp/1']", "names no relay"),
            (DEVICE + "[network]\nkademlia = 1", "[network]: kademlia must be true or false"),
            (DEVICE + "[network]\nrotate_hours = -1", "rotate_hours must be a number from 0 to"),
            (DEVICE + "[network]\nannounce_interval_s = nan", "announce_interval_s must be a num"),
            (DEVICE + "[learning]\nbatch = 0", "[learning]: batch must be a whole number from 1 "),
            (DEVICE + "[learning]\nbatch = true", "batch must be a whole number"),
            (DEVICE + "[learning]\nmomentum = 1", "momentum must be a number from 0 to 0.99"),
            ("[device", "not a TOML file"),
            ('x = "\\ud800"', "not a TOML file"),
            ("#" * 70_000, ""),
        ],
    )
    def test_mistakes_name_table_and_key(self, text: str, said: str) -> None:
        assert said in refusal(text)

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"config\.toml: cannot be read"):
            load_config(tmp_path / "config.toml")

    def test_a_file_that_is_too_large(self, tmp_path: Path) -> None:
        (tmp_path / "config.toml").write_text("#" * 70_000)
        with pytest.raises(ConfigError, match="larger than 65536 bytes"):
            load_config(tmp_path / "config.toml")

    @given(st.binary(max_size=300))
    def test_any_bytes_are_read_or_refused(self, raw: bytes) -> None:
        with pytest.raises(ConfigError):
            parse_config(raw, "x")
