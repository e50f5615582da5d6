"""The label table: what domain separation rests on."""

from __future__ import annotations

from itertools import permutations

from gossamer_crypto import labels


def test_every_label_is_its_name_versioned_and_terminated() -> None:
    for name, label in labels.LABELS.items():
        assert label == b"gossamer/v1/" + name.encode() + b"\0"


def test_no_label_begins_another_or_a_label_of_libp2p() -> None:
    for one, other in permutations(labels.LABELS.values(), 2):
        assert not one.startswith(other)
    for label in labels.LABELS.values():
        assert not label.startswith((b"libp2p", b"noise-libp2p"))


def test_every_constant_is_in_the_table() -> None:
    constants = {
        value for name, value in vars(labels).items() if name.isupper() and isinstance(value, bytes)
    }
    assert constants == set(labels.LABELS.values())
