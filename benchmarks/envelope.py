"""What an envelope costs over the bare primitives: `python benchmarks/envelope.py`.

CPU time of this process, best of several batches; the envelope and its bare primitive take turns
within one run, so that a busy machine slows both. Bare means: cipher and key objects exist already.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from gossamer_crypto.envelope import Envelope, Kind, open_envelope, parse_envelope, seal
from gossamer_crypto.feed import FIRST_PREV
from gossamer_crypto.identity import Identity

SIZES = (128, 1024, 8192, 65536)
BATCHES = 30
BATCH_SECONDS = 0.01
SEED, SECRET, SWARM = (bytes([byte]) * 32 for byte in (1, 2, 3))


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    size: int
    bare_name: str
    run: Callable[[], object]
    bare: Callable[[], object]


def make_envelope(identity: Identity, plaintext: bytes) -> Envelope:
    return seal(
        identity,
        secret=SECRET,
        swarm=SWARM,
        epoch=0,
        kind=Kind.DELTA,
        incarnation=0,
        seq=0,
        prev=FIRST_PREV,
        plaintext=plaintext,
        salt=b"x" * 32,
    )


def cases(size: int) -> Iterator[Case]:
    identity = Identity.from_seed(SEED)
    signing_key = Ed25519PrivateKey.from_private_bytes(SEED)
    verifying_key = signing_key.public_key()
    cipher, nonce = ChaCha20Poly1305(SECRET), bytes(12)
    plaintext = bytes(size)
    envelope = make_envelope(identity, plaintext)
    header, signature = envelope.head.header_bytes, envelope.head.signature
    message = bytes(len(header) + 32)
    bare_body = cipher.encrypt(nonce, plaintext, header)
    bare_signature = signing_key.sign(message)

    def bare_seal() -> object:
        cipher.encrypt(nonce, plaintext, header)
        return signing_key.sign(message)

    def receive() -> bytes:
        received = parse_envelope(header, envelope.ciphertext, signature)
        received.head.verify()
        return open_envelope(received, SECRET)

    def bare_receive() -> bytes:
        verifying_key.verify(bare_signature, message)
        return cipher.decrypt(nonce, bare_body, header)

    yield Case(
        "seal", size, "encrypt + sign", lambda: make_envelope(identity, plaintext), bare_seal
    )
    yield Case(
        "parse",
        size,
        "SHA-256 of the ciphertext",
        lambda: parse_envelope(header, envelope.ciphertext, signature),
        lambda: hashlib.sha256(bare_body).digest(),
    )
    yield Case(
        "verify",
        size,
        "Ed25519 verify",
        envelope.head.verify,
        lambda: verifying_key.verify(bare_signature, message),
    )
    yield Case(
        "open",
        size,
        "ChaCha20-Poly1305 decrypt",
        lambda: open_envelope(envelope, SECRET),
        lambda: cipher.decrypt(nonce, bare_body, header),
    )
    yield Case("parse + verify + open", size, "verify + decrypt", receive, bare_receive)


def batch_seconds(run: Callable[[], object], times: int) -> float:
    begin = time.process_time()
    for _ in range(times):
        run()
    return time.process_time() - begin


def measure(case: Case) -> tuple[float, float]:
    """CPU microseconds per call of the envelope's operation and of the bare one."""
    pilot = max(batch_seconds(case.run, 10), batch_seconds(case.bare, 10)) / 10
    times = max(10, int(BATCH_SECONDS / pilot))
    runs, bares = [], []
    for _ in range(BATCHES):
        runs.append(batch_seconds(case.run, times))
        bares.append(batch_seconds(case.bare, times))
    return min(runs) / times * 1e6, min(bares) / times * 1e6


def main() -> None:
    print("| operation | plaintext bytes | CPU us | bare primitive | bare CPU us | ratio |")
    print("|---|---:|---:|---|---:|---:|")
    for size in SIZES:
        for case in cases(size):
            run, bare = measure(case)
            print(
                f"| {case.name} | {size} | {run:.1f} | {case.bare_name} | {bare:.1f} "
                f"| {run / bare:.2f} |"
            )


if __name__ == "__main__":
    main()
