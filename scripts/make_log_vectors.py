"""Write tests/vectors/log.json: a checkpoint, a proof, questions to a witness, records, a log.

All but the records of the feed in tests/vectors/crypto.json, so it is the same on each run.

    python scripts/make_log_vectors.py            write the file
    python scripts/make_log_vectors.py --check    exit 1 if the file differs from that
"""

from __future__ import annotations

import argparse
import hashlib
import json
import struct
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from gossamer_agent.merge.result import ONE_VOTE
from gossamer_agent.owner import ConfigurationRecord, LabelRecord
from gossamer_agent.probation import Bounds
from gossamer_agent.records import Contributor, LeftOut, MergeRecord, StandingRecord
from gossamer_agent.reputation import Standing
from gossamer_agent.store.exported import export_log
from gossamer_crypto.checkpoint import (
    SignedCheckpoint,
    cosign,
    parse_checkpoint,
    sign_checkpoint,
)
from gossamer_crypto.envelope import Envelope, parse_envelope
from gossamer_crypto.errors import PeerError
from gossamer_crypto.identity import Identity
from gossamer_crypto.inclusion import link_of, parse_proof, prove
from gossamer_transport.witnessing import WitnessAnswer, WitnessQuestion, WitnessVerdict

FOLDER = Path(__file__).parents[1] / "tests" / "vectors"
VECTORS = FOLDER / "log.json"
AUTHOR = Identity.from_seed(bytes(range(32)))
_PARTS = ("header", "ciphertext", "signature")
WITNESSES = tuple(Identity.from_seed(bytes([number]) * 32) for number in (7, 8))


def feed() -> list[Envelope]:
    vectors = json.loads((FOLDER / "crypto.json").read_text(encoding="utf-8"))["feed"]
    return [
        parse_envelope(
            *(bytes.fromhex(each[part]) for part in ("header", "ciphertext", "signature"))
        )
        for each in vectors
    ]


def cosigned() -> SignedCheckpoint:
    signed = sign_checkpoint(AUTHOR, feed()[-1].head)
    return signed.with_cosignatures(
        (witness.peer_id, cosign(witness, signed.checkpoint)) for witness in WITNESSES
    )


def refused_checkpoints() -> list[dict[str, str]]:
    signed, note = cosigned(), cosigned().pack()
    lines = note.splitlines(keepends=True)
    first, second = lines[5], lines[6]
    other = b"A" if second[80:81] != b"A" else b"B"
    weak = b"12D3KooW9tGaPdJo5jmCpadQ971nfiq4kLcQjeBPYTfutBTtckPH"
    cases = {
        "no line feed at the end": note[:-1],
        "no author's signature": note.replace(lines[4], b""),
        "cosignatures in another order": note.replace(first + second, second + first),
        "one cosignature twice": note + second,
        "cosigned by the author": note.replace(first, lines[4]),
        "author's signature as a cosignature": b"".join([*lines[:5], _renamed(lines[4], lines[5])]),
        "size with a zero in front": note.replace(b"\n3\n", b"\n03\n"),
        "size of another length": note.replace(b"\n3\n", b"\n2\n"),
        "size 0": note.replace(b"\n3\n", b"\n0\n"),
        "incarnation 1": note.replace(b"/0\n", b"/1\n", 1),
        "upper case": note.replace(note[9:20], note[9:20].upper()),
        "a fourth line": note.replace(b"\n\n", b"\nmore\n\n"),
        "author of small order": note.replace(lines[0].split(b"/")[2], weak),
        "key id of another": note.replace(lines[5].split(b" ")[2][:5], lines[6].split(b" ")[2][:5]),
        "base64 with loose bits": _loose(note, lines[2]),
        "another signature": note.replace(second, second[:80] + other + second[81:]),
    }
    assert parse_checkpoint(note) == signed
    return [{"name": name, "note": raw.hex(), **_refusal(raw)} for name, raw in cases.items()]


def _renamed(line: bytes, like: bytes) -> bytes:
    parts, others = line.split(b" "), like.split(b" ")
    return b" ".join([parts[0], others[1], parts[2]])


def _loose(note: bytes, root: bytes) -> bytes:
    """The last character of 43 holds four bits that count and two that do not."""
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    place = alphabet.index(root[42:43])
    return note.replace(root, root[:42] + alphabet[place + 1 : place + 2] + root[43:])


def _refusal(raw: bytes) -> dict[str, str]:
    step = "parse"
    try:
        signed = parse_checkpoint(raw)
        step = "verify"
        signed.verify()
    except PeerError as error:
        return {"step": step, "reason": str(error.reason)}
    raise AssertionError("a bad checkpoint was accepted")


def proof_vectors() -> list[dict[str, str | int]]:
    entries = feed()
    proofs = [prove(cosigned(), [entry.head for entry in entries[seq:]]) for seq in range(3)]
    for proof in proofs:
        assert parse_proof(proof.pack()) == proof
    return [
        {
            "seq": proof.entry.header.seq,
            "entry_hash": proof.entry.entry_hash.hex(),
            "proof": proof.pack().hex(),
        }
        for proof in proofs
    ]


def witness_vectors() -> dict[str, str]:
    heads = [entry.head for entry in feed()]
    signed = sign_checkpoint(AUTHOR, heads[-1])
    links = tuple(map(link_of, heads[1:]))
    return {
        "first_question": WitnessQuestion(signed, heads[-1]).pack().hex(),
        "apart": WitnessAnswer(WitnessVerdict.APART, b"", 0, 1, heads[0].entry_hash).pack().hex(),
        "second_question": WitnessQuestion(signed, heads[-1], links).pack().hex(),
        "cosigned": WitnessAnswer(WitnessVerdict.COSIGNED, cosign(WITNESSES[0], signed.checkpoint))
        .pack()
        .hex(),
    }


def exported() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log"
        export_log(feed(), cosigned(), path)
        return path.read_bytes()


def record_vectors() -> dict[str, str]:
    """One of each record of docs/spec/records.md, and a merge as older versions wrote it."""
    peers = [identity.peer_id for identity in sorted(WITNESSES, key=lambda each: each.peer_id)]
    rows = tuple(
        Contributor(
            peer=peer,
            step=7 + place,
            replica_hash=bytes([place]) * 32,
            votes=ONE_VOTE >> place,
            clip=1 / (1 + 2 * place),
            distance=0.5 + place,
            bounds=Bounds(newcomer=place == 1, branch=AUTHOR.peer_id if place else None),
        )
        for place, peer in enumerate(peers)
    )
    merge = MergeRecord(
        round=8,
        rule="gossamer",
        contributors=rows,
        radius=0.5,
        result_hash=b"r" * 32,
        loss_before=0.75,
        loss_after=0.5,
        committed=True,
        verdict="loss 0.500, before 0.750",
        left_out=(LeftOut(peer=AUTHOR.peer_id, step=0, reason="silent"),),
        rule_version=2,
    )
    standing = StandingRecord(
        round=8, peer=peers[0], standing=Standing.QUARANTINED, score=0.25, reason="distance"
    )
    configuration = ConfigurationRecord(
        round=8,
        program="0.1.0",
        digest=hashlib.sha256(b'{"learning.batch": 32}').digest(),
        settings="learning.batch = 32",
        changed="learning.batch: default -> 32",
    )
    label = LabelRecord(round=8, nonce=bytes(range(16)), model=b"r" * 32, name="before-harvest")
    records = {
        "merge": merge,
        "standing": standing,
        "configuration": configuration,
        "label": label,
    }
    for record in records.values():
        assert type(record).unpack(record.pack()).pack() == record.pack()
    packed = {name: record.pack().hex() for name, record in records.items()}
    return packed | {f"merge version {version}": raw.hex() for version, raw in _older(merge)}


def _older(merge: MergeRecord) -> Iterator[tuple[int, bytes]]:
    """The same merge as versions 1 and 2 had it, which are still read."""
    fields = msgspec.msgpack.decode(merge.pack())[:20]
    rows = merge.contributors
    fields[4] = b"".join(struct.pack(">Q", row.step) for row in rows)
    fields[7] = b"".join(struct.pack(">d", row.clip) for row in rows)
    fields[18] = b"".join(struct.pack(">Q", left.step) for left in merge.left_out)
    for version, count in ((1, 12), (2, 20)):
        raw = msgspec.msgpack.encode([version, *fields[1:count]])
        assert len(MergeRecord.unpack(raw).contributors) == len(rows)
        yield version, raw


def render() -> str:
    """The whole file as text."""
    vectors = {
        "witnesses": [{"seed": bytes([number] * 32).hex()} for number in (7, 8)],
        "checkpoint": {
            "text": cosigned().checkpoint.text.decode(),
            "note": cosigned().pack().decode(),
        },
        "refused_checkpoints": refused_checkpoints(),
        "proofs": proof_vectors(),
        "witness": witness_vectors(),
        "records": record_vectors(),
        "exported": exported().hex(),
    }
    return json.dumps(vectors, indent=1, ensure_ascii=False) + "\n"


def main(arguments: Sequence[str] | None = None, path: Path = VECTORS) -> int:
    parser = argparse.ArgumentParser(description="Write the test vectors of logs.")
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    check: bool = parser.parse_args(arguments).check
    text = render()
    if not check:
        path.write_text(text, encoding="utf-8")
    elif not path.is_file() or path.read_text(encoding="utf-8") != text:
        print(f"{path.name} differs from what the code makes: a format has changed")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
