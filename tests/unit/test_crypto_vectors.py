"""The published vectors: the code makes them, and they hold by arithmetic of our own."""

from __future__ import annotations

import hashlib
import hmac
import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from gossamer_crypto.envelope import Kind, open_envelope, parse_envelope
from gossamer_crypto.errors import EnvelopeError, IdentityError
from gossamer_crypto.feed import verify_chain
from gossamer_crypto.genesis import Genesis
from gossamer_crypto.identity import check_peer_id, parse_peer_id

ROOT = Path(__file__).parents[2]
VECTORS: dict[str, Any] = json.loads((ROOT / "tests/vectors/crypto.json").read_text())
LABELS = {name: bytes.fromhex(label) for name, label in VECTORS["labels"].items()}


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_vectors", ROOT / "scripts/make_vectors.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def unhex(vector: dict[str, str], *names: str) -> list[bytes]:
    return [bytes.fromhex(vector[name]) for name in names]


def test_the_code_still_makes_the_vectors() -> None:
    assert script().main(["--check"]) == 0


def test_a_changed_vector_is_noticed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make = script()
    path = tmp_path / "crypto.json"
    assert make.main(["--check"], path) == 1
    assert make.main([], path) == 0
    assert make.main(["--check"], path) == 0
    path.write_text(path.read_text().replace("00", "01", 1))
    assert make.main(["--check"], path) == 1
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_message_keys_follow_from_the_text_of_the_specification() -> None:
    for vector in VECTORS["message_keys"]:
        secret, swarm, author, salt = unhex(vector, "secret", "swarm", "author", "salt")
        info = LABELS["envelope-key"] + swarm + vector["epoch"].to_bytes(8, "big") + author + salt
        first = hmac.digest(secret, info + b"\1", "sha256")
        second = hmac.digest(secret, first + info + b"\2", "sha256")
        third = hmac.digest(secret, second + info + b"\3", "sha256")
        derived = first + second + third
        expected = b"".join(unhex(vector, "key", "nonce", "commitment"))
        assert derived[:76] == expected


def test_entries_follow_from_the_text_of_the_specification() -> None:
    secret = bytes.fromhex(VECTORS["secret"])
    before = bytes(32)
    for vector in VECTORS["feed"]:
        header, body, signature = unhex(vector, "header", "ciphertext", "signature")
        swarm, epoch, author, salt = header[6:38], header[38:46], header[46:78], header[126:158]
        info = LABELS["envelope-key"] + swarm + epoch + author + salt
        key = hmac.digest(secret, info + b"\1", "sha256")
        nonce = hmac.digest(secret, key + info + b"\2", "sha256")[:12]
        plaintext = ChaCha20Poly1305(key).decrypt(nonce, body, header)
        covered = header + hashlib.sha256(body).digest()
        Ed25519PublicKey.from_public_bytes(author).verify(
            signature, LABELS["envelope-sig"] + covered
        )
        entry_hash = hashlib.sha256(LABELS["entry"] + covered).digest()
        assert plaintext.hex() == vector["plaintext"]
        assert entry_hash.hex() == vector["entry_hash"]
        assert header[94:126] == before == bytes.fromhex(vector["prev"])
        before = entry_hash


def test_the_feed_verifies_and_opens() -> None:
    entries = [
        parse_envelope(*unhex(vector, "header", "ciphertext", "signature"))
        for vector in VECTORS["feed"]
    ]
    report = verify_chain(entries, bytes.fromhex(VECTORS["genesis"]["swarm_id"]))
    assert report.ok
    assert report.entries == len(entries)
    secret = bytes.fromhex(VECTORS["secret"])
    opened = [open_envelope(entry, secret).hex() for entry in entries]
    assert opened == [vector["plaintext"] for vector in VECTORS["feed"]]
    assert Genesis.unpack(bytes.fromhex(opened[0])).swarm_id == entries[0].header.swarm


@pytest.mark.parametrize("vector", VECTORS["refused_envelopes"], ids=lambda vector: vector["name"])
def test_forged_envelopes_are_refused_for_the_published_reason(vector: dict[str, str]) -> None:
    with pytest.raises(EnvelopeError) as caught:
        envelope = parse_envelope(*unhex(vector, "header", "ciphertext", "signature"))
        envelope.head.verify()
        open_envelope(envelope, bytes.fromhex(VECTORS["secret"]))
    assert caught.value.reason == vector["reason"]


def test_keys_and_names_are_as_published() -> None:
    for vector in VECTORS["identities"]:
        assert parse_peer_id(vector["text"]).hex() == vector["peer_id"]
    for vector in VECTORS["refused_keys"]:
        with pytest.raises(IdentityError):
            check_peer_id(bytes.fromhex(vector["peer_id"]))


def test_the_swarm_id_is_the_labelled_hash_of_the_genesis() -> None:
    vector = VECTORS["genesis"]
    packed = bytes.fromhex(vector["packed"])
    assert hashlib.sha256(LABELS["genesis"] + packed).hexdigest() == vector["swarm_id"]
    assert Genesis.unpack(packed).name == vector["name"]


def test_the_examples_of_the_specification_are_the_vectors() -> None:
    envelope_page, feed_page = (
        (ROOT / "docs/spec" / name).read_text(encoding="utf-8")
        for name in ("envelope.md", "feed.md")
    )
    example = envelope_page.split("```")[1]
    dumped = "".join(re.findall(r"^[0-9a-f]+", example, re.MULTILINE))
    entry = VECTORS["feed"][1]
    assert dumped == entry["header"] + entry["ciphertext"] + entry["signature"]
    keys = next(keys for keys in VECTORS["message_keys"] if keys["salt"] in entry["header"])
    for quoted in (
        VECTORS["secret"],
        keys["key"],
        keys["nonce"],
        entry["ciphertext_hash"],
        entry["entry_hash"],
        VECTORS["identities"][0]["text"],
    ):
        assert quoted in envelope_page
    for vector in VECTORS["feed"]:
        kind = Kind(vector["kind"]).name.lower()
        assert f"{kind}  {vector['prev'][:16]}  {vector['entry_hash'][:16]}" in feed_page
