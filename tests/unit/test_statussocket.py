"""The status socket: one agent for each folder, whatever an earlier one left behind."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

from gossamer_agent.errors import AgentError
from gossamer_agent.node.statussocket import FILE_NAME, AlreadyRunningError, answering, ask


async def forty_two() -> bytes:
    return b"42"


ANSWERS = {"life": forty_two}


def answered(folder: Path, scenario: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        with trio.fail_after(10):
            async with answering(folder, ANSWERS):
                await scenario()

    trio.run(main)


def test_a_question_is_answered_by_the_owner_s_socket(tmp_path: Path) -> None:
    async def scenario() -> None:
        mode = (tmp_path / FILE_NAME).stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600
        assert await trio.to_thread.run_sync(ask, tmp_path, "life") == b"42"
        assert await trio.to_thread.run_sync(ask, tmp_path, "death") == b""

    answered(tmp_path, scenario)
    assert not (tmp_path / FILE_NAME).exists()
    assert ask(tmp_path, "life") is None


def test_a_second_agent_is_refused_and_disturbs_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        with pytest.raises(AlreadyRunningError, match="already running"):
            async with answering(tmp_path, ANSWERS):
                pass
        assert await trio.to_thread.run_sync(ask, tmp_path, "life") == b"42"

    answered(tmp_path, scenario)


def test_the_socket_of_a_killed_agent_is_replaced(tmp_path: Path) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / FILE_NAME))
    left.close()
    assert ask(tmp_path, "life") is None

    async def scenario() -> None:
        assert await trio.to_thread.run_sync(ask, tmp_path, "life") == b"42"

    answered(tmp_path, scenario)


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("dear diary")

    async def scenario() -> None:
        raise AssertionError("there is no socket")

    with pytest.raises(AgentError, match=r"refused|not a socket"):
        answered(tmp_path, scenario)
    assert (tmp_path / FILE_NAME).read_text() == "dear diary"


def test_a_folder_with_a_long_name_has_a_socket_too(tmp_path: Path) -> None:
    folder = tmp_path / ("d" * 120)
    folder.mkdir()

    async def scenario() -> None:
        assert await trio.to_thread.run_sync(ask, folder, "life") == b"42"

    answered(folder, scenario)
    assert not (folder / FILE_NAME).exists()


@pytest.mark.parametrize("babble", [b"", b"life", b"x" * 4096, b"\xff\xfe\n", b"life\nlife\n"])
def test_who_babbles_costs_nobody_anything(tmp_path: Path, babble: bytes) -> None:
    def say() -> None:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(tmp_path / FILE_NAME))
            connection.sendall(babble)

    async def scenario() -> None:
        await trio.to_thread.run_sync(say)
        assert await trio.to_thread.run_sync(ask, tmp_path, "life") == b"42"

    answered(tmp_path, scenario)


def test_the_mask_of_new_files_is_as_before(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:

        async def scenario() -> None:
            assert os.umask(0o022) == 0o022

        answered(tmp_path, scenario)
    finally:
        os.umask(before)
