"""What a service manager hears, and when an agent counts as stuck."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer_agent.pulse import COMPUTATION_S, Bounds, Pulse, Work
from gossamer_agent.service.notify import Notifier

BOUNDS = Bounds.of(watchdog_s=30.0, round_interval_s=20.0)


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """The address as systemd writes it, and the socket behind it."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@gossamer-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0" + name[1:] if name[0] == "@" else name)
        listening.settimeout(1.0)
        yield name, listening


def test_the_manager_hears_all_that_is_told(manager: tuple[str, socket.socket]) -> None:
    address, listening = manager
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": address})
    notifier.ready()
    notifier.status("learning;\nround 3\x1b")
    notifier.status("learning;\nround 3\x1b")  # no news
    notifier.alive()
    notifier.stopping()
    heard = [listening.recv(1024).decode() for _ in range(4)]
    assert heard == ["READY=1", "STATUS=learning; round 3 ", "WATCHDOG=1", "STOPPING=1"]
    listening.setblocking(False)
    with pytest.raises(BlockingIOError):
        listening.recv(1024)


def test_the_environment_is_taken_and_not_left_to_children() -> None:
    environ = {
        "NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "1500000", "WATCHDOG_PID": str(os.getpid()),
        "HOME": "/",
    }  # fmt: skip
    notifier = Notifier.from_environment(environ)
    assert (notifier.heard, notifier.watchdog_s) == (True, 1.5)
    assert environ == {"HOME": "/"}


def test_the_watchdog_of_another_process_is_not_ours() -> None:
    environ = {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "1500000", "WATCHDOG_PID": "1"}
    assert Notifier.from_environment(environ).watchdog_s is None


@given(address=st.text(), usec=st.text())
def test_whatever_the_environment_says_nothing_fails(address: str, usec: str) -> None:
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": usec})
    assert notifier.watchdog_s is None or notifier.watchdog_s > 0
    if not address.startswith(("/", "@")):
        notifier.alive()
        assert not notifier.heard


def test_a_manager_that_left_does_no_harm(tmp_path: Path) -> None:
    Notifier(str(tmp_path / "gone")).alive()


def test_who_waits_is_not_stuck() -> None:
    pulse = Pulse()
    assert pulse.stuck(1e9, BOUNDS) is None
    pulse.timer(5000.0)  # a pause: the timer comes by later
    assert pulse.stuck(5029.0, BOUNDS) is None


def test_a_timer_that_does_not_come_by_is_stuck() -> None:
    pulse = Pulse()
    pulse.timer(100.0)
    assert "overdue since 31 s" in str(pulse.stuck(131.0, BOUNDS))
    pulse.timer(None)
    assert pulse.stuck(131.0, BOUNDS) is None


@pytest.mark.parametrize(
    ("work", "bound_s"),
    [(Work.EVENT, 30.0), (Work.COMPUTATION, COMPUTATION_S), (Work.OPENING, 3600.0)],
)
def test_work_may_take_its_time_and_no_more(work: Work, bound_s: float) -> None:
    pulse = Pulse()
    with pulse.during(work, 10.0):
        assert pulse.stuck(10.0 + bound_s, BOUNDS) is None
        with pulse.during(work, 10.0 + bound_s):  # younger work beside it excuses nothing
            assert work in str(pulse.stuck(11.0 + bound_s, BOUNDS))
    assert pulse.stuck(1e9, BOUNDS) is None


def test_slow_rounds_have_slow_computations() -> None:
    assert Bounds.of(30.0, 3600.0).computation_s == 36_000.0
