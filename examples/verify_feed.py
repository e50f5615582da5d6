"""Verifies an exported Gossamer log without Gossamer: `python verify_feed.py shed.log`.

Needs `cryptography` and no more. The format is in docs/spec/feed.md, with what is left out here: a
verifier for strangers' logs also refuses the 14 weak keys of docs/spec/envelope.md.
"""

import base64
import hashlib
import struct
import sys
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

START, END = b"gossamer log 1\n", b"GSME"
HEADER = struct.Struct(">4sBB 32s Q 32s Q Q 32s 32s 32s I")
BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def label(name: str) -> bytes:
    return b"gossamer/v1/" + name.encode() + b"\0"


def check(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


def check_signature(key: bytes, message: bytes, signature: bytes, what: str) -> None:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except InvalidSignature:
        raise ValueError(f"{what}: the signature does not hold") from None


def verify_log(raw: bytes) -> tuple[int, list[str]]:
    """How many entries the log has, and who cosigned it; ValueError says what is wrong."""
    check(raw.startswith(START), "not an exported log")
    at, hashes, feed = len(START), [bytes(32)], None
    while raw[at : at + 4] != END:
        seq = len(hashes) - 1
        header, rest = raw[at : at + HEADER.size], at + HEADER.size
        check(len(header) == HEADER.size, f"cut off after {seq} entries")
        magic, suite, kind, swarm, _, author, life, number, prev, *_, size = HEADER.unpack(header)
        body, at = raw[rest : rest + size], rest + size + 64
        check(at <= len(raw), f"cut off after {seq} entries")
        feed = feed or (swarm, author, life)
        following = (magic, suite, number, prev) == (b"GSMR", 1, seq, hashes[-1])
        check(following and feed == (swarm, author, life), f"entry {seq} is not the next one")
        check(1 <= kind <= 8 and (kind != 1 or seq == 0), f"entry {seq} has no kind or starts over")
        covered = header + hashlib.sha256(body).digest()
        check_signature(author, label("envelope-sig") + covered, raw[at - 64 : at], f"entry {seq}")
        hashes.append(hashlib.sha256(label("entry") + covered).digest())
    end, note = raw[at : at + 48], raw[at + 48 :]
    whole = END + struct.pack(">Q32sI", len(hashes) - 1, hashes[-1], len(note))
    check(end == whole, f"entry {len(hashes) - 1} is missing, or the end is damaged")
    return len(hashes) - 1, verify_checkpoint(note, hashes, feed) if note else []


def verify_checkpoint(note: bytes, hashes: list[bytes], feed: tuple | None) -> list[str]:
    """The peer ids of those who cosigned."""
    text, _, signatures = note.decode().partition("\n\n")
    origin, size, root = text.split("\n")
    check(0 < int(size) < len(hashes), f"entry {len(hashes) - 1} is missing: {size} were cosigned")
    check(base64.b64decode(root) == hashes[int(size)], "the checkpoint is of another log")
    signers = [line.split(" ")[1:] for line in signatures.splitlines()]
    names = [name for name, _ in signers]
    check(origin == f"gossamer/{feed[0].hex()}/{names[0]}/{feed[2]}", "of another log")
    for role, (name, signature) in zip(["checkpoint"] + ["cosign"] * len(names), signers):
        number = sum(58**power * BASE58.index(each) for power, each in enumerate(name[::-1]))
        key = number.to_bytes(38, "big")[6:]
        check(role == "cosign" or key == feed[1], "the checkpoint is not the author's")
        message = label(role) + text.encode() + b"\n"
        check_signature(key, message, base64.b64decode(signature)[4:], f"checkpoint: {name}")
    return names[1:]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python verify_feed.py FILE")
    try:
        entries, witnesses = verify_log(Path(sys.argv[1]).read_bytes())
    except (ValueError, LookupError, ArithmeticError, OSError) as error:
        sys.exit(f"broken: {error}")
    print(f"verified: {entries} entries", *(f"cosigned by {name}" for name in witnesses), sep="\n")
