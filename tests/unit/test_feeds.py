"""The own feeds in a device folder."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from gossamer_agent.errors import StoreError
from gossamer_agent.store import feeds
from gossamer_crypto.envelope import Kind
from gossamer_crypto.epoch import FixedEpoch
from gossamer_crypto.feed import FeedWriter
from gossamer_crypto.identity import Identity


def write(folder: Path, incarnation: int, count: int) -> None:
    writer = FeedWriter(
        Identity.from_seed(b"o" * 32),
        b"s" * 32,
        FixedEpoch(b"e" * 32),
        lambda size: b"x" * size,
        incarnation=incarnation,
    )
    with closing(feeds.begin(folder, incarnation)) as store:
        for _ in range(count):
            store.append(writer.append(Kind.MERGE, b"body"))


def test_the_first_feed_is_made_when_there_is_none(tmp_path: Path) -> None:
    assert feeds.incarnations(tmp_path) == []
    own, store = feeds.open_newest(tmp_path)
    assert store is not None
    store.close()
    assert (own.incarnation, own.head, own.damaged) == (0, None, False)
    assert feeds.incarnations(tmp_path) == [0]


def test_the_newest_one_is_opened_and_older_ones_can_be_read(tmp_path: Path) -> None:
    write(tmp_path, 0, 2)
    write(tmp_path, 2, 3)
    write(tmp_path, 10, 1)
    (tmp_path / "feed-x.sqlite3").touch()
    (tmp_path / "feed-03.sqlite3").touch()
    assert feeds.incarnations(tmp_path) == [0, 2, 10]
    own, store = feeds.open_newest(tmp_path)
    assert store is not None
    store.close()
    assert own.incarnation == 10
    assert own.head is not None
    assert own.head.header.incarnation == 10
    assert [entry.header.incarnation for entry in feeds.entries_before(tmp_path, 10)] == [2] * 3
    assert len(list(feeds.entries_before(tmp_path, 2))) == 2
    assert list(feeds.entries_before(tmp_path, 0)) == []


def test_a_damaged_feed_is_said_to_be_and_kept(tmp_path: Path) -> None:
    write(tmp_path, 0, 2)
    path = feeds.feed_path(tmp_path, 0)
    path.write_bytes(b"\xff" * 4096)
    own, store = feeds.open_newest(tmp_path)
    assert store is None
    assert own.damaged
    assert path.read_bytes() == b"\xff" * 4096


def test_an_incarnation_begins_once(tmp_path: Path) -> None:
    write(tmp_path, 1, 1)
    with pytest.raises(StoreError, match="begins once"):
        feeds.begin(tmp_path, 1)
