"""`gossamer init`."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gossamer_agent.device.folder import open_device
from gossamer_agent.exit_codes import ExitCode
from gossamer_agent.members.stewardship import load_roster
from gossamer_agent.policy import Policy
from gossamer_agent.synthetic import SyntheticLearner
from gossamer_crypto.identity import peer_id_text
from gossamer_transport.codec import Codec

Gossamer = Callable[..., Any]


@pytest.fixture
def init(gossamer: Gossamer, tmp_path: Path, samples_file: Path) -> Gossamer:
    """`gossamer init` of the folder garden with the fast model; further options come last."""

    def call(
        *options: str | Path, folder: Path = tmp_path / "garden", model: str = "synthetic"
    ) -> Any:
        words = ("--swarm", "greenhouse", "--model", model, "--data", samples_file)
        return gossamer("init", folder, *words, *options)

    return call


def test_founds_a_swarm(init: Gossamer, tmp_path: Path, samples_file: Path) -> None:
    ran = init()
    assert ran.code == 0, ran.err
    device = open_device(tmp_path / "garden")
    learner = SyntheticLearner()
    assert device.is_steward
    assert device.genesis.name == "greenhouse"
    assert device.genesis.model_sha256 == learner.model_sha256
    assert device.genesis.contract == learner.contract.digest()
    assert Policy.unpack(device.genesis.policy) == Policy()
    with closing(device.open_state()) as state:
        roster = load_roster(state, device.genesis)
    assert [*roster.members] == [device.peer_id]
    assert roster.epoch == 1
    assert device.config.device.name == "garden"
    assert device.data_path == samples_file
    assert peer_id_text(device.peer_id) in ran.out
    assert f"gossamer -C {tmp_path / 'garden'} run" in ran.out


def test_two_swarms_of_one_name_differ(init: Gossamer, tmp_path: Path) -> None:
    for name in ("garden", "other"):
        assert init(folder=tmp_path / name).code == 0
    first, second = (open_device(tmp_path / name) for name in ("garden", "other"))
    assert first.genesis.swarm_id != second.genesis.swarm_id
    assert first.peer_id != second.peer_id


def test_says_which_profile_it_chose_and_why(init: Gossamer, tmp_path: Path) -> None:
    ran = init()
    profile = open_device(tmp_path / "garden").config.device.profile
    assert re.search(rf"^profile {profile} \(.+\), because this is: .+ MB$", ran.err, re.M)


def test_listens_at_a_port_that_survives_a_restart(init: Gossamer, tmp_path: Path) -> None:
    init()
    (listen,) = open_device(tmp_path / "garden").config.network.listen
    assert re.fullmatch(r"/ip4/0\.0\.0\.0/tcp/[23][0-9]{4}", listen)


def test_takes_settings_and_terms(init: Gossamer, tmp_path: Path, samples_file: Path) -> None:
    listen = "/ip4/127.0.0.1/tcp/4001"
    terms = ("--rule", "median", "--codec", "int8", "--view", "4", "--quorum", "2")
    ran = init(
        "--profile", "pi-4", "--listen", listen, "--test", samples_file, "--name", "x", *terms
    )
    assert ran.code == 0, ran.err
    device = open_device(tmp_path / "garden")
    assert device.config.network.listen == (listen,)
    assert (device.config.device.profile, device.config.device.name) == ("pi-4", "x")
    assert device.test_path == samples_file
    expected = Policy(rule="median", codec=Codec.INT8, view_size=4, quorum=2)
    assert Policy.unpack(device.genesis.policy) == expected


@pytest.mark.slow
def test_protects_the_key_with_a_passphrase(
    init: Gossamer, gossamer: Gossamer, tmp_path: Path
) -> None:
    (tmp_path / "words").write_text("correct horse\nbattery\n")
    assert init("--passphrase-file", tmp_path / "words").code == 0
    show = ("-C", tmp_path / "garden", "identity", "show")
    ran = gossamer(*show, "--passphrase-file", tmp_path / "words")
    assert ran.code == 0, ran.err
    assert "protected by a passphrase" in ran.out
    silent = gossamer(*show)
    assert silent.code == ExitCode.CONFIG
    assert "give --passphrase-file" in silent.err
    (tmp_path / "words").write_text("battery staple\n")
    assert "wrong passphrase" in gossamer(*show, "--passphrase-file", tmp_path / "words").err


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--model", "vgg"], ExitCode.MODEL, "model 'vgg' is unknown; use one of"),
        (["--data", "gone.npz"], ExitCode.DATA, "'gone.npz': no such file"),
        (["--test", "gone.npz"], ExitCode.DATA, "'gone.npz': no such file"),
        (["--profile", "pi-9"], ExitCode.CONFIG, "no profile 'pi-9'"),
        (["--rule", "vote"], ExitCode.CONFIG, "unknown rule 'vote'; choose from"),
        (["--codec", "zip"], ExitCode.CONFIG, "unknown codec 'zip'; choose from sign1"),
        (["--view", "0"], ExitCode.CONFIG, "--view 0 is out of range"),
        (["--view", "1", "--quorum", "3"], ExitCode.CONFIG, "nobody could merge"),
        (["--listen", "4001"], ExitCode.CONFIG, "'4001' cannot be listened at"),
        (["--name", "a\nb"], ExitCode.CONFIG, "[device]: name must hold printable"),
        (["--swarm", ""], ExitCode.CONFIG, "--swarm '': name has 0 bytes"),
        (["--swarm", "x\u202ey"], ExitCode.CONFIG, "control or invisible characters"),
        (["--passphrase"], ExitCode.CONFIG, "no terminal to ask for a passphrase"),
        (["--passphrase-file", "gone"], ExitCode.FAILURE, "gone: No such file"),
        (["--colour"], ExitCode.USAGE, "No such option"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_made(
    init: Gossamer, tmp_path: Path, options: list[str], code: int, said: str
) -> None:
    ran = init(*options)
    assert ran.code == code, ran.err
    assert said in ran.err
    assert ran.out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["samples.npz"]


def test_a_short_passphrase_protects_nothing(init: Gossamer, tmp_path: Path) -> None:
    (tmp_path / "words").write_text("short\n")
    assert "at least 8 characters" in init("--passphrase-file", tmp_path / "words").err
    (tmp_path / "words").write_bytes(b"\xff\xfe\n")
    assert "its first line must be the passphrase" in (
        init("--passphrase-file", tmp_path / "words").err
    )


def test_a_second_swarm_does_not_fit_into_one_folder(init: Gossamer) -> None:
    init()
    ran = init()
    assert ran.code == ExitCode.STORE
    assert "there is a device already; choose another place" in ran.err


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"x": np.zeros((20, 7)), "y": np.arange(20) % 2}, "samples have shape (7,), the model"),
        ({"x": np.zeros((20, 512)), "y": np.arange(20) % 3}, "label 2 is out of range 0..1"),
    ],
)
def test_data_must_fit_the_model(
    init: Gossamer, tmp_path: Path, columns: dict[str, Any], said: str
) -> None:
    np.savez(tmp_path / "other.npz", **columns)
    for option in ("--data", "--test"):
        ran = init(option, tmp_path / "other.npz")
        assert ran.code == ExitCode.DATA
        assert said in ran.err
        assert "other.npz" in ran.err


def test_unscaled_data_are_warned_of(init: Gossamer, tmp_path: Path) -> None:
    np.savez(tmp_path / "raw.npz", x=np.full((20, 512), 415.5), y=np.arange(20) % 2)
    ran = init("--data", tmp_path / "raw.npz")
    assert ran.code == 0
    assert "warning: " in ran.err
    assert "are not scaled" in ran.err
