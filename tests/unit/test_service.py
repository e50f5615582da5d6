"""The systemd unit of an agent, and what systemd is asked to do with it."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer_agent.errors import AgentError, ConfigError
from gossamer_agent.exit_codes import ExitCode
from gossamer_agent.service import plan, systemd
from gossamer_agent.service.systemd import Service, ServiceError, units_folder
from gossamer_agent.service.unit import UnitSettings, check_name, folder_of, unit_name, unit_text
from gossamer_agent.synthetic import make_samples

ANALYZE = shutil.which("systemd-analyze")
EXPOSURE_MAX = 20
"""In tenths, as systemd-analyze counts."""

SETTINGS = UnitSettings(
    description="Gossamer agent of shed",
    program=("/home/pi/gossamer/.venv/bin/python", "-m", "gossamer_agent"),
    folder=Path("/home/pi/shed 50%"),
    readable=(Path("/usr"), Path("/home/pi/gossamer/.venv"), Path("/home/pi/gossamer")),
    user="pi",
    group="pi",
    memory_mb_max=192,
    threads=1,
)
FAKE_SYSTEMCTL = """#!/bin/sh
echo "$*" >> "$CALLS"
case "$*" in
    *show*) printf 'ActiveState=active\\nSubState=running\\nNRestarts=2\\nMemoryCurrent=90000000\\n'
            printf 'StatusText=learning; round 3\\nOther=x\\n' ;;
    *restart*) [ -z "$REFUSE" ] || { echo "Job for it failed." >&2; exit 1; } ;;
esac
"""


def lines_of(settings: UnitSettings) -> list[str]:
    return unit_text(settings).splitlines()


def test_the_unit_has_the_means_of_the_profile_and_one_writable_path() -> None:
    lines = lines_of(SETTINGS)
    assert "MemoryMax=192000000" in lines
    assert "CPUQuota=100%" in lines
    assert [line for line in lines if line.startswith("ReadWritePaths")] == [
        'ReadWritePaths="/home/pi/shed 50%%"'
    ]
    assert 'BindPaths="/home/pi/shed 50%%"' in lines
    assert 'BindReadOnlyPaths="-/home/pi/gossamer"' in lines  # with what is below it
    (start,) = [line for line in lines if line.startswith("ExecStart")]
    assert start == (
        'ExecStart=/home/pi/gossamer/.venv/bin/python -m gossamer_agent -C "/home/pi/shed 50%%" run'
    )
    assert {"Type=notify", "NotifyAccess=main", "Restart=on-failure", "User=pi"} <= {*lines}
    (helpless,) = [line for line in lines if line.startswith("RestartPreventExitStatus=")]
    told = set(map(int, helpless.partition("=")[2].split()))
    assert {ExitCode.CONFIG, ExitCode.MEMBERSHIP} < told
    assert ExitCode.MODEL not in told  # a learner of the owner's own that crashed
    assert not any("NUM_THREADS" in line for line in lines)  # the program sees to that


def test_devices_are_open_only_where_the_profile_names_them() -> None:
    assert "PrivateDevices=yes" in lines_of(SETTINGS)
    lines = lines_of(replace(SETTINGS, devices=("/dev/vcio",), device_groups=("video",)))
    assert "PrivateDevices=yes" not in lines
    assert {"DevicePolicy=closed", "DeviceAllow=/dev/vcio rw", "SupplementaryGroups=video"} <= {
        *lines
    }


def test_a_watched_folder_is_writable_too() -> None:
    lines = lines_of(replace(SETTINGS, writable=(Path("/srv/inbox"),)))
    assert 'ReadWritePaths="/home/pi/shed 50%%" "-/srv/inbox"' in lines
    assert 'BindPaths="/home/pi/shed 50%%"' in lines
    inside = lines_of(replace(SETTINGS, writable=(SETTINGS.folder / "inbox",)))
    assert 'ReadWritePaths="/home/pi/shed 50%%"' in inside


def test_a_passphrase_is_handed_over_by_systemd() -> None:
    text = unit_text(replace(SETTINGS, passphrase_file=Path("/etc/gossamer.pass")))
    assert "LoadCredential=passphrase:/etc/gossamer.pass\n" in text
    assert " run --passphrase-file %d/passphrase\n" in text


def test_a_unit_of_the_user_s_own_names_no_user() -> None:
    text = unit_text(replace(SETTINGS, user=None, group=None))
    assert "User=" not in text.replace("PrivateUsers=", "")
    assert "WantedBy=default.target" in text


@pytest.mark.parametrize("path", ["/a\nUser=root", "/a\x1b", "/a\\", " /a", "/a:b"])
def test_a_path_cannot_bring_its_own_lines(path: str) -> None:
    with pytest.raises(ConfigError):
        unit_text(replace(SETTINGS, folder=Path(path)))


@given(st.text(min_size=1, max_size=40).filter(lambda name: "/" not in name and "\0" not in name))
def test_whatever_a_folder_is_called_its_unit_has_a_plain_name(name: str) -> None:
    assert unit_name(Path("/home/pi", name)).replace("gossamer-", "", 1).strip("-_.") is not None
    assert unit_name(Path("/home/pi", name)).isascii()
    check_name(unit_name(Path("/home/pi", name)))
    settings = replace(SETTINGS, folder=Path("/home/pi", name))
    try:
        text = unit_text(settings)
    except ConfigError:
        return
    assert len(text.splitlines()) == len(lines_of(SETTINGS))
    assert folder_of(text) == str(settings.folder).replace("%", "%%")


@pytest.mark.parametrize("name", ["../x", "a b", "", "x" * 80, "-x"])
def test_a_name_that_systemd_refuses_is_refused(name: str) -> None:
    with pytest.raises(ConfigError):
        check_name(name)


@pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize(
    ("variant", "limit"),
    [
        ({}, EXPOSURE_MAX),
        ({"user": None, "group": None}, EXPOSURE_MAX + 5),  # offline it takes no user for root
        ({"devices": ("/dev/vcio",), "device_groups": ("video",)}, EXPOSURE_MAX),
    ],
)
@pytest.mark.slow
def test_the_exposure_is_small(tmp_path: Path, variant: dict[str, Any], limit: int) -> None:
    path = tmp_path / "gossamer-shed.service"
    path.write_text(unit_text(replace(SETTINGS, **variant)))
    done = subprocess.run(
        [str(ANALYZE), "security", "--offline=true", "--no-pager", f"--threshold={limit}", path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-300:] + done.stderr
    assert "Overall exposure level" in done.stdout


@pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")
@pytest.mark.slow
def test_systemd_reads_every_line_of_the_unit(tmp_path: Path) -> None:
    path = tmp_path / "gossamer-shed.service"
    program = (shutil.which("true") or "/bin/true", "$HOME", 'say "hi" 50%')
    settings = replace(SETTINGS, folder=tmp_path, program=program, user="root", group="root")
    path.write_text(unit_text(settings))
    done = subprocess.run(
        [str(ANALYZE), "verify", "--man=no", path], capture_output=True, text=True, check=False
    )
    complaints = [line for line in done.stderr.splitlines() if path.name in line]
    assert not complaints, done.stderr


# Asking systemd --------------------------------------------------------------------------------


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """A systemd that writes down what it is asked, in folders of the test."""
    programs, record = tmp_path / "bin", tmp_path / "calls"
    programs.mkdir()
    for name in ("systemctl", "journalctl"):
        (programs / name).write_text(FAKE_SYSTEMCTL)
        (programs / name).chmod(0o755)
    record.touch()
    units = tmp_path / "units"
    units.mkdir()
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    monkeypatch.setenv("CALLS", str(record))
    monkeypatch.setenv("REFUSE", "")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(systemd, "SYSTEM_UNITS", units)
    monkeypatch.setattr(systemd, "BOOTED", tmp_path)
    monkeypatch.setattr(plan, "_owner", lambda folder: ("pi", "pi"))
    return lambda: record.read_text().splitlines()


@pytest.fixture
def garden(tmp_path: Path, gossamer: Callable[..., Any]) -> Path:
    samples = make_samples(512, 20, np.random.default_rng(0))
    np.savez(tmp_path / "data.npz", x=samples.x, y=samples.y)
    ran = gossamer(
        "init", tmp_path / "garden", "--swarm", "greenhouse", "--model", "synthetic",
        "--data", tmp_path / "data.npz",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    return tmp_path / "garden"


def test_a_service_is_installed_asked_and_removed_without_a_trace(
    garden: Path, gossamer: Callable[..., Any], calls: Callable[[], list[str]]
) -> None:
    assert gossamer("-C", garden, "service", "install").code == 0
    unit = units_folder(user=False) / "gossamer-garden.service"
    assert f"WorkingDirectory={garden}" in unit.read_text()
    started = [
        "daemon-reload",
        "reset-failed gossamer-garden.service",
        "enable gossamer-garden.service",
        "restart gossamer-garden.service",
    ]
    assert calls() == started
    # Again, after the profile changed: the one that runs gets the new unit.
    assert gossamer("-C", garden, "service", "install").code == 0
    assert calls() == 2 * started

    told = gossamer("-C", garden, "service", "status")
    assert "active (running)" in told.out
    assert "learning; round 3" in told.out
    assert "90 MB" in told.out
    assert "Other" not in gossamer("-C", garden, "service", "status", "--json").out
    assert gossamer("-C", garden, "service", "logs", "-n", "5").code == 0
    assert calls()[-1] == "--unit=gossamer-garden.service --lines=5 --no-pager"

    before = len(calls())
    assert gossamer("-C", garden, "service", "remove").code == 0
    assert calls()[before:] == [
        "disable --now gossamer-garden.service",
        "daemon-reload",
        "reset-failed gossamer-garden.service",
    ]
    assert not any(units_folder(user=False).iterdir())
    assert gossamer("-C", garden, "service", "status").code == ExitCode.FAILURE


def test_a_user_s_service_needs_no_root(
    garden: Path, gossamer: Callable[..., Any], calls: Callable[[], list[str]]
) -> None:
    assert gossamer("-C", garden, "service", "install", "--user", "--name", "shed").code == 0
    assert (units_folder(user=True) / "shed.service").exists()
    assert calls()[-1] == "--user restart shed.service"
    ran = gossamer(
        "-C", garden, "service", "remove", "--name", "shed"
    )  # it is found without --user
    assert (ran.code, ran.err) == (0, "")
    assert not any(units_folder(user=True).iterdir())


def test_print_touches_nothing(
    garden: Path, gossamer: Callable[..., Any], calls: Callable[[], list[str]]
) -> None:
    ran = gossamer("-C", garden, "service", "install", "--print")
    assert ran.out.startswith("# Made by")
    assert calls() == []
    assert not any(units_folder(user=False).iterdir())


def test_the_unit_of_another_device_is_not_replaced(
    garden: Path, gossamer: Callable[..., Any], calls: Callable[[], list[str]]
) -> None:
    unit = units_folder(user=False) / "gossamer-garden.service"
    unit.write_text("WorkingDirectory=/elsewhere/garden\n")
    for command in ("install", "remove"):
        assert gossamer("-C", garden, "service", command).code == ExitCode.FAILURE
    assert unit.read_text() == "WorkingDirectory=/elsewhere/garden\n"
    assert calls() == []


def test_a_service_that_does_not_start_says_where_to_look(
    garden: Path,
    gossamer: Callable[..., Any],
    calls: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REFUSE", "yes")
    ran = gossamer("-C", garden, "service", "install")
    assert ran.code == ExitCode.FAILURE
    assert "Job for it failed" in ran.err
    assert "gossamer service logs" in ran.err


def test_without_systemd_one_line_says_so(
    garden: Path,
    gossamer: Callable[..., Any],
    calls: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(systemd, "BOOTED", tmp_path / "absent")
    ran = gossamer("-C", garden, "service", "install")
    assert ran.code == ExitCode.FAILURE
    assert ran.err.count("\n") == 1
    assert "systemd does not run here" in ran.err


def test_without_rights_sudo_is_named(
    calls: Callable[[], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd, "SYSTEM_UNITS", tmp_path / "calls" / "no-folder")
    with pytest.raises(ServiceError, match="sudo"):
        Service("gossamer-shed", user=False).install("text")
    with pytest.raises(ServiceError, match="sudo"):
        Service("gossamer-shed", user=False).remove()


def test_a_device_of_root_s_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    me = pwd.getpwuid(os.getuid())
    if me.pw_uid == 0:
        with pytest.raises(AgentError, match="must not run as root"):
            plan._owner(tmp_path)
    else:
        assert plan._owner(tmp_path)[0] == me.pw_name


def test_a_protected_key_needs_its_passphrase(
    garden: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "is_encrypted", lambda path: True)
    with pytest.raises(ConfigError, match="passphrase-file"):
        plan.plan_unit(garden, user=True, passphrase_file=None)
    file = garden / "pass"
    file.write_text("12345678")
    assert plan.plan_unit(garden, user=True, passphrase_file=file).passphrase_file == file


def test_what_config_names_outside_of_the_folder_is_shown(garden: Path, tmp_path: Path) -> None:
    config = garden / "config.toml"
    text = config.read_text()
    text, count = re.subn(r"(?m)^# watch =.*", 'watch = "../inbox"', text)
    assert count == 1
    text, count = re.subn(r"(?m)^# test =.*", 'test = "../data.npz"', text)
    assert count == 1
    config.write_text(text)
    settings = plan.plan_unit(garden, user=True, passphrase_file=None)
    assert settings.writable == (tmp_path / "inbox",)
    assert tmp_path / "data.npz" in settings.readable


def test_a_user_s_own_manager_is_asked_for_no_groups(
    garden: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (garden / "small.toml").write_text('base = "pi-4"\n[unit]\ndevices = ["/dev/null"]\n')
    config = garden / "config.toml"
    text, count = re.subn(
        r"(?m)^profile =.*", 'profile = "small.toml"', config.read_text(encoding="utf-8")
    )
    assert count == 1
    config.write_text(text)
    monkeypatch.setattr(plan, "_groups", lambda devices: iter(["video"]))
    monkeypatch.setattr(plan, "_owner", lambda folder: ("pi", "pi"))
    for user, groups in ((True, ()), (False, ("video",))):
        settings = plan.plan_unit(garden, user=user, passphrase_file=None)
        assert (settings.devices, settings.device_groups) == (("/dev/null",), groups)


def test_a_folder_without_a_device_has_no_service(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match="no device here"):
        plan.plan_unit(tmp_path, user=True, passphrase_file=None)
