"""Entries about what the owner did: round trips, one error for other bytes, what is told."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer_agent.device.config import Config, DeviceSettings, LearningSettings, NetworkSettings
from gossamer_agent.device.told import UNTOLD, changes, digest_of, told_settings
from gossamer_agent.owner import ConfigurationRecord, LabelRecord
from gossamer_crypto.errors import FeedError, Reason

COUNTS = st.integers(0, 2**63 - 1)
HASHES = st.binary(min_size=32, max_size=32)
NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=64)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=200)
CONFIGURATIONS = st.builds(
    ConfigurationRecord, round=COUNTS, program=NAMES, digest=HASHES, settings=TEXTS, changed=TEXTS
)
LABELS = st.builds(
    LabelRecord, round=COUNTS, nonce=st.binary(min_size=16, max_size=16), model=HASHES, name=NAMES
)
CONFIGURATION = ConfigurationRecord(
    round=7, program="1.2", digest=b"d" * 32, settings="learning.batch = 8", changed=""
)
LABEL = LabelRecord(round=7, nonce=b"n" * 16, model=b"m" * 32, name="before-harvest")
Record = ConfigurationRecord | LabelRecord

DEVICE = DeviceSettings(name="kitchen", model="mlp", data="/home/ann/data.npz", profile="pi-5")
CONFIG = Config(device=DEVICE)


@given(CONFIGURATIONS | LABELS)
def test_a_record_comes_back(record: Record) -> None:
    assert record.unpack(record.pack()) == record


@given(st.binary(max_size=120))
def test_arbitrary_bytes_raise_one_error(raw: bytes) -> None:
    for record in (CONFIGURATION, LABEL):
        with suppress(FeedError):
            record.unpack(raw)


@pytest.mark.parametrize("record", [CONFIGURATION, LABEL], ids=["configuration", "label"])
def test_every_cut_and_every_tail_is_refused(record: Record) -> None:
    raw = record.pack()
    for damaged in (*(raw[:size] for size in range(len(raw))), raw + b"\0"):
        with pytest.raises(FeedError) as caught:
            record.unpack(damaged)
        assert caught.value.reason is Reason.BAD_FRAME
    with pytest.raises(FeedError) as caught:
        record.unpack(b"\x91" * (256 * 1024 + 1))
    assert caught.value.reason is Reason.TOO_LARGE


@pytest.mark.parametrize(
    ("record", "at", "value"),
    [
        (CONFIGURATION, 0, 2),
        (CONFIGURATION, 1, -1),
        (CONFIGURATION, 2, ""),
        (CONFIGURATION, 3, b"short"),
        (CONFIGURATION, 4, b"bytes"),
        (CONFIGURATION, 5, "x" * (16 * 1024 + 1)),
        (LABEL, 0, 2),
        (LABEL, 2, b"n" * 15),
        (LABEL, 3, b"m" * 33),
        (LABEL, 4, ""),
        (LABEL, 4, "n" * 65),
    ],
)
def test_what_no_record_says_is_refused(record: Record, at: int, value: object) -> None:
    fields = msgspec.msgpack.decode(record.pack())
    fields[at] = value
    with pytest.raises(FeedError):
        record.unpack(msgspec.msgpack.encode(fields))


def test_a_long_account_is_cut_so_that_it_can_be_read() -> None:
    long = replace(CONFIGURATION, settings="s" * 20_000, changed="c" * 20_000, program="p" * 99)
    again = ConfigurationRecord.unpack(long.pack())
    assert (len(again.settings), len(again.changed), len(again.program)) == (16384, 16384, 64)


class TestTold:
    def test_numbers_are_told_and_names_paths_addresses_and_seeds_are_not(self) -> None:
        config = replace(
            CONFIG,
            learning=LearningSettings(batch=32, seed=4711),
            network=NetworkSettings(kademlia=True, listen=("/ip4/10.1.2.3/tcp/4001",)),
        )
        lines = told_settings(config).splitlines()
        assert 'device.profile = "pi-5"' in lines
        assert "learning.batch = 32" in lines
        assert "network.kademlia = true" in lines
        for secret in ("kitchen", "ann", "10.1.2.3", "4711"):
            assert secret not in told_settings(config)

    def test_defaults_are_not_listed(self) -> None:
        assert told_settings(CONFIG) == 'device.profile = "pi-5"'

    def test_the_digest_covers_what_is_not_told(self) -> None:
        other = replace(CONFIG, device=replace(DEVICE, data="/home/ann/other.npz"))
        assert told_settings(other) == told_settings(CONFIG)
        assert digest_of(other) != digest_of(CONFIG) == digest_of(replace(CONFIG))

    def test_changes_name_the_key_and_both_values(self) -> None:
        old = replace(CONFIG, learning=LearningSettings(batch=32, local_steps=4))
        new = replace(CONFIG, learning=LearningSettings(batch=64))
        told = changes(told_settings(old), told_settings(new), hidden=False)
        assert told.splitlines() == [
            "learning.batch: 32 -> 64",
            "learning.local_steps: 4 -> default",
        ]
        assert changes(told_settings(new), told_settings(new), hidden=True) == UNTOLD
        assert changes("", "", hidden=False) == ""
