"""A state store that outlives its errors."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from gossamer_agent.errors import StoreError
from gossamer_agent.node.lasting import RETRY_S, LastingState
from gossamer_agent.store.state import StateStore


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def fail(state: StateStore) -> None:
    """Let the next statement meet a broken disk."""
    assert state._connection is not None
    state._connection.close()
    with pytest.raises((StoreError, sqlite3.ProgrammingError)):
        state.put("space", b"key", b"lost")


def test_it_opens_again_after_an_error_and_says_that_others_may_have_written(
    tmp_path: Path,
) -> None:
    clock = Clock()
    state = LastingState(tmp_path / "state.sqlite3", clock)
    state.put("space", b"key", b"value")
    assert not state.changed()
    fail(state)
    assert state.get("space", b"key") == b"value"
    assert state.changed()
    assert not state.changed()
    with state.transaction():
        state.put("space", b"key", b"other")
    assert state.get("space", b"key") == b"other"
    state.close()


def test_it_is_not_tried_at_every_question(tmp_path: Path) -> None:
    clock = Clock()
    path = tmp_path / "state.sqlite3"
    state = LastingState(path, clock)
    fail(state)
    held = path.read_bytes()
    path.write_bytes(b"another program's" * 100)
    with pytest.raises(StoreError):
        state.get("space", b"key")
    path.write_bytes(held)
    with pytest.raises(StoreError, match="tried again soon"):
        state.get("space", b"key")
    clock.now += RETRY_S
    assert state.get("space", b"key") is None
    state.close()


def test_closed_is_closed(tmp_path: Path) -> None:
    state = LastingState(tmp_path / "state.sqlite3")
    state.close()
    state.close()
    with pytest.raises(StoreError, match="closed"):
        state.get("space", b"key")
