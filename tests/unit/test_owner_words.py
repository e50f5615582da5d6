"""What the owner did, in the log: settings that changed, names for models."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trio
from tests.unit.test_node import LEARNER, Place, run, until

from gossamer_agent.cli.log.evidence import secrets_for
from gossamer_agent.exit_codes import ExitCode
from gossamer_agent.owner import ConfigurationRecord, LabelRecord
from gossamer_agent.store.state import LABELS, StateStore
from gossamer_crypto.envelope import Kind, open_envelope
from gossamer_transport.replica import replica_hash

Gossamer = Callable[..., Any]
NONCES = [bytes([number]) * 16 for number in (1, 2, 3)]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    place.found()
    return place


def bodies(place: Place, kind: Kind) -> list[tuple[int, bytes]]:
    """(seq, plaintext) of all entries of one kind in the log of device 1."""
    secret_of = secrets_for(place.devices[1].feed_path, None, None)
    found = []
    for entry in place.entries(1):
        if entry.header.kind is kind:
            secret = secret_of(entry.header.epoch)
            assert secret is not None
            found.append((entry.header.seq, open_envelope(entry, secret)))
    return found


def ask_for(place: Place, nonce: bytes, name: str) -> None:
    with closing(place.devices[1].open_state()) as state:
        state.put(LABELS, nonce, name.encode())


def waiting(place: Place) -> list[tuple[bytes, bytes]]:
    with closing(StateStore(place.devices[1].state_path)) as state:
        return state.items(LABELS)


def live(place: Place, *, rounds: int = 1, then: Callable[[], Any] | None = None) -> None:
    """Let the agent run until it has made some rounds more."""

    async def scenario(nursery: trio.Nursery) -> None:
        await place.start(nursery, 1)
        node = place.nodes[1]
        await until(lambda: node.life.tally.rounds >= rounds)
        if then is not None:
            await then()
        await place.stop(1)

    run(scenario)
    assert place.ended == {1: None}


@pytest.mark.slow
def test_settings_are_logged_at_the_first_start_and_when_they_change(place: Place) -> None:
    live(place)
    live(place)
    config = place.devices[1].path / "config.toml"
    text = config.read_text()
    config.write_text(text.replace("batch = 4", "batch = 8").replace("device 1", "renamed"))
    live(place)
    (first, one), (second, two) = bodies(place, Kind.CONFIGURATION)
    assert (first, place.entries(1)[second - 1].header.kind) == (1, Kind.DELTA)
    before, after = ConfigurationRecord.unpack(one), ConfigurationRecord.unpack(two)
    assert "learning.batch: default -> 4" in before.changed.splitlines()
    assert after.changed == "learning.batch: 4 -> 8"
    assert (before.round, after.round > 0) == (0, True)
    assert "device 1" not in before.settings
    assert before.digest != after.digest


@pytest.mark.slow
def test_labels_are_written_once_at_the_start_and_while_it_runs(place: Place) -> None:
    ask_for(place, NONCES[0], "while it was off")
    ask_for(place, b"no nonce", "nonsense")
    written: list[tuple[int, LabelRecord]] = []

    async def label_it() -> None:
        node = place.nodes[1]
        await trio.to_thread.run_sync(ask_for, place, NONCES[1], "while it runs")
        assert node.life.runtime is not None
        written.extend(await node.owner.write_labels(node.life.runtime))
        assert await node.owner.write_labels(node.life.runtime) == []
        assert node.owner.trouble is None

    live(place, rounds=2, then=label_it)
    assert waiting(place) == []
    ask_for(place, NONCES[0], "again, as after a power cut before the row was deleted")
    live(place)
    labels = [LabelRecord.unpack(body) for _, body in bodies(place, Kind.LABEL)]
    assert [label.name for label in labels] == ["while it was off", "while it runs"]
    assert waiting(place) == []
    (mine,) = written
    assert mine[1] == labels[1]
    assert labels[0].round == 0
    assert labels[0].model == replica_hash(LEARNER.init())
    assert labels[1].round >= 2


class TestCommand:
    def test_without_an_agent_it_waits_in_the_state(self, gossamer: Gossamer, place: Place) -> None:
        folder = place.devices[1].path
        ran = gossamer("-C", folder, "log", "label", "before-harvest")
        assert (ran.code, ran.err) == (0, "")
        assert ran.out == "kept: the agent writes before-harvest into the log when it starts next\n"
        ((nonce, name),) = waiting(place)
        assert (len(nonce), name) == (16, b"before-harvest")
        told = json.loads(gossamer("-C", folder, "log", "label", "second", "--json").out)
        assert (told["name"], told["written"]) == ("second", None)

    def test_a_running_agent_says_where_it_stands(
        self, gossamer: Gossamer, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = place.devices[1].path
        monkeypatch.setattr("os.urandom", lambda _: NONCES[2])
        answer: dict[str, bytes] = {}
        monkeypatch.setattr(
            "gossamer_agent.node.statussocket.ask", lambda _, question: answer[question]
        )
        row = {"seq": 7, "round": 3, "model": "ab" * 32, "name": "x", "nonce": NONCES[2].hex()}
        answer["label"] = json.dumps([row]).encode()
        ran = gossamer("-C", folder, "log", "label", "x")
        assert ran.out == f"entry 7: x is model {'ab' * 32}, after round 3\n"
        answer["label"] = b"null"
        assert "the agent is busy" in gossamer("-C", folder, "log", "label", "x").out
        answer["label"] = b""
        ran = gossamer("-C", folder, "log", "label", "x")
        assert ran.code != 0
        assert "of another version" in ran.err

    @pytest.mark.parametrize("name", ["", "n" * 65, "two\nlines", "\x1b[2J"])
    def test_a_name_is_printable_and_short(
        self, gossamer: Gossamer, place: Place, name: str
    ) -> None:
        ran = gossamer("-C", place.devices[1].path, "log", "label", name)
        assert ran.code == ExitCode.USAGE
        assert "1 to 64 printable characters" in ran.err
        assert waiting(place) == []

    def test_another_folder_is_refused_and_left_alone(
        self, gossamer: Gossamer, tmp_path: Path
    ) -> None:
        ran = gossamer("-C", tmp_path, "log", "label", "x")
        assert ran.code == ExitCode.STORE
        assert "is not the folder of a device" in ran.err
        assert [*tmp_path.iterdir()] == []
