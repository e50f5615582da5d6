"""The course of a swarm, from what its agents tell now and then."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gossamer_agent.node.status import AgentStatus, PeerStatus, pack_status
from gossamer_agent.node.statussocket import FILE_NAME
from gossamer_agent.tally import RoundRecord
from gossamer_simulator.swarm_up.watch import Course, Watch, by, status_of


def record(round_: int, accuracy: float | None) -> RoundRecord:
    return RoundRecord(
        round=round_,
        merged=3,
        committed=True,
        holdout_loss=0.5,
        accuracy=accuracy,
        bytes_sent=100 * round_,
        seconds=float(round_),
    )


def status(name: str = "a", round_: int = 0, **fields: Any) -> AgentStatus:
    history = [record(number, number / 100) for number in range(1, round_ + 1)]
    settings: dict[str, Any] = {
        "version": "0.1.0",
        "name": name,
        "peer": f"peer of {name}",
        "steward": False,
        "swarm": "test",
        "swarm_id": "00",
        "state": "learning",
        "round": round_,
        "history": history,
    }
    return AgentStatus(**(settings | fields))


@contextmanager
def answering(folder: Path, answer: bytes) -> Iterator[None]:
    """An agent that gives one answer to everybody."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / FILE_NAME))
    listener.listen()

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(64)
                connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()


def test_what_was_seen_counts_until_something_newer_is() -> None:
    series = {2: "two", 5: "five"}
    assert [by(series, round_) for round_ in range(1, 7)] == [
        None, "two", "two", "two", "five", "five"
    ]  # fmt: skip


def test_a_course_keeps_all_rounds_although_agents_forget() -> None:
    course = Course("a")
    course.learn(status(round_=3))
    course.learn(status(round_=5, history=[record(4, 0.04), record(5, None)]))
    assert course.accuracy == {1: 0.01, 2: 0.02, 3: 0.03, 4: 0.04}
    assert course.rounds == 4


def test_bytes_and_reputation_are_those_at_the_end_of_a_round() -> None:
    course = Course("a")
    peers = [PeerStatus(peer="b", reputation=0.5), PeerStatus(peer="c")]
    course.learn(status(round_=1, bytes_sent=10, peers=peers))
    course.learn(status(round_=1, bytes_sent=30, peers=peers))
    course.learn(status(round_=2, bytes_sent=40))
    assert course.bytes_sent == {1: 30, 2: 40}
    assert course.reputation == {1: {"b": 0.5}, 2: {}}


def test_the_mean_takes_everybody_at_the_same_round_of_his_own(tmp_path: Path) -> None:
    watch = Watch.over({"a": tmp_path, "b": tmp_path, "c": tmp_path})
    watch.courses["a"].learn(status("a", 4))
    watch.courses["b"].learn(status("b", 2))
    assert watch.accuracies(1) == [0.01, 0.01]
    assert watch.mean_accuracy(4) == pytest.approx(0.03)
    assert watch.mean_accuracy(0) is None


def test_refusals_are_summed_without_zeros(tmp_path: Path) -> None:
    watch = Watch.over({"a": tmp_path, "b": tmp_path})
    watch.courses["a"].learn(status("a", refused={"fork": 0, "stale": 2}))
    watch.courses["b"].learn(status("b", refused={"flood": 1, "stale": 1}))
    assert watch.refused() == {"flood": 1, "stale": 3}


def test_look_asks_and_keeps_what_the_silent_told(tmp_path: Path) -> None:
    folders = {name: tmp_path / name for name in "ab"}
    for folder in folders.values():
        folder.mkdir()
    watch = Watch.over(folders)
    watch.courses["b"].learn(status("b", 2))
    with answering(folders["a"], pack_status(status("a", 1))):
        watch.look(folders)
    assert [told.name for told in watch.newest()] == ["a", "b"]
    assert watch.courses["b"].rounds == 2


@pytest.mark.parametrize("answer", [b"", b"nonsense", b'{"name": 3}'])
def test_nonsense_is_no_status(tmp_path: Path, answer: bytes) -> None:
    with answering(tmp_path, answer):
        assert status_of(tmp_path) is None


def test_no_agent_no_status(tmp_path: Path) -> None:
    assert status_of(tmp_path) is None


def test_an_agent_that_stands_still_is_not_waited_for(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as stopped:
        stopped.bind(str(tmp_path / FILE_NAME))
        stopped.listen()
        assert status_of(tmp_path, timeout_s=0.01) is None
