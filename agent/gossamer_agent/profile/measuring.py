"""`gossamer profile calibrate`: what this device can do, in the units of `Speed`.

Theory of operation. A figure is the median over batches of calls, in CPU time of this process, so
that other programs distort it little; what they still cost (caches, clock rates) shows in the load
and in the share of a core that we got, which are reported beside it. A batch takes some
milliseconds, as clocks are coarse. Each measurement ends with its share of the time, but not before
a few batches. Only the sync of the disk is waited for, and so measured in real time.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np

from gossamer_agent.errors import StoreError
from gossamer_agent.learner import Learner, Samples, Training
from gossamer_agent.merge import MergeInput, merge
from gossamer_agent.models import load_learner
from gossamer_agent.profile.schema import Speed
from gossamer_crypto.envelope import Kind, open_envelope, seal
from gossamer_crypto.identity import Identity, PeerId

MODEL: Final = "mlp"
BATCH: Final = 16
SYNC_BYTES: Final = 4096
_STEPS: Final = 64  # in one call: its fixed cost is shared as in a round
_VALUES: Final = 200_000
"""Parameters of the merge; a million would need 100 MB, too much for the smallest boards."""
_INPUTS: Final = 9
_ENTRY_BYTES: Final = 1000
_BATCH_S: Final = 0.005
_BATCHES: Final = (5, 201)  # at least, at most

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one run found.

    speed: CPU milliseconds. open_ms: decrypting one entry, CPU. sync_ms: writing 4 kB to the disk,
    real time. memory_mb: the most this process used, in 10^6 bytes. spread: of the middle half of
    the batches, relative to the median, the largest of all measurements. load_per_core: the load
    average of a minute per usable core when it began. share: CPU seconds per second of real time,
    1.0 on a machine that had a core to spare.
    """

    speed: Speed
    open_ms: float
    sync_ms: float
    memory_mb: float
    spread: float
    load_per_core: float
    share: float

    @property
    def busy(self) -> bool:
        """Whether other work may have distorted the figures."""
        return self.load_per_core > 0.5 or self.share < 0.8


@dataclass(slots=True)
class _Timing:
    """Milliseconds of one call in each batch, and the time that all of it took."""

    batches: list[float]
    cpu_s: float
    real_s: float

    @property
    def middle(self) -> float:
        return median(self.batches)

    @property
    def spread(self) -> float:
        ordered, count = sorted(self.batches), len(self.batches)
        return (ordered[3 * count // 4] - ordered[count // 4]) / max(self.middle, 1e-9)


def measure(folder: Path, seconds: float, progress: Progress) -> Measured:
    """Measure this device in about `seconds`, of which one goes into loading.

    folder: where a file is written and removed again. progress: is told what is measured next.
    Raises ModelError without a TFLite runtime, StoreError if the folder cannot be written.
    """
    load_per_core = os.getloadavg()[0] / len(os.sched_getaffinity(0))
    share = seconds / 5
    progress("loading the model")
    learner = load_learner(MODEL)
    progress(f"training steps of the {learner.contract.parameters:,}-parameter MLP")
    training = _time(_training(learner), share)
    progress(f"merging {_INPUTS} inputs of {_VALUES:,} parameters")
    merging = _time(_merging(), share)
    sealing, verifying, opening = _envelopes()
    progress("sealing, verifying and opening entries")
    sealed, verified, opened = (_time(call, share / 3) for call in (sealing, verifying, opening))
    progress(f"syncing {SYNC_BYTES // 1024} kB to the disk")
    sync_ms = _sync_ms(folder, share)
    on_cpu = (training, merging, sealed, verified, opened)
    return Measured(
        speed=_within(
            train_step_ms=training.middle / _STEPS,
            merge_ms_per_million_values=merging.middle * 1e6 / _VALUES,
            verify_ms=verified.middle,
            seal_ms=sealed.middle,
        ),
        open_ms=opened.middle,
        sync_ms=sync_ms,
        memory_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
        spread=max(timing.spread for timing in on_cpu),
        load_per_core=load_per_core,
        share=sum(each.cpu_s for each in on_cpu) / sum(each.real_s for each in on_cpu),
    )


def _time(call: Callable[[], object], seconds: float) -> _Timing:
    call()  # the first one pays for what all later ones find in place
    began, cpu = time.monotonic(), time.process_time()
    call()
    once_s = max(time.process_time() - cpu, 1e-6)
    calls = max(1, round(_BATCH_S / once_s))
    timing = _Timing([], 0.0, 0.0)
    least, most = _BATCHES
    while len(timing.batches) < least or (
        len(timing.batches) < most and time.monotonic() - began < seconds
    ):
        real, cpu = time.monotonic(), time.process_time()
        for _ in range(calls):
            call()
        spent_s = time.process_time() - cpu
        timing.cpu_s += spent_s
        timing.real_s += time.monotonic() - real
        timing.batches.append(spent_s * 1e3 / calls)
    return timing


def _training(learner: Learner) -> Callable[[], object]:
    chance = np.random.default_rng(0)
    contract = learner.contract
    data = Samples(
        chance.normal(size=(512, *contract.input_shape)).astype(np.float32),
        chance.integers(contract.classes, size=512).astype(np.int32),
    )
    first = learner.init()
    settings = Training(steps=_STEPS, batch=BATCH, learning_rate=0.01)
    return lambda: learner.train(first, data, settings, chance)


def _merging() -> Callable[[], object]:
    """The default merge of inputs of which two share a vote, so that votes differ."""
    rows = np.random.default_rng(1).normal(size=(_INPUTS, _VALUES)).astype(np.float32)
    rows[1] = rows[0]
    peers = [PeerId(bytes([number]) * 32) for number in range(_INPUTS)]
    inputs = [MergeInput(peer, row) for peer, row in zip(peers, rows, strict=True)]
    return lambda: merge("gossamer", inputs, peers[0])


def _envelopes() -> Iterator[Callable[[], object]]:
    """Sealing, verifying and opening one entry."""
    identity, secret = Identity.from_seed(bytes(32)), bytes(range(32))

    def sealing() -> object:
        return seal(
            identity,
            secret=secret,
            swarm=bytes(32),
            epoch=0,
            kind=Kind.DELTA,
            incarnation=1,
            seq=1,
            prev=bytes(32),
            plaintext=bytes(_ENTRY_BYTES),
            salt=os.urandom(32),
        )

    envelope = seal(
        identity,
        secret=secret,
        swarm=bytes(32),
        epoch=0,
        kind=Kind.DELTA,
        incarnation=1,
        seq=1,
        prev=bytes(32),
        plaintext=bytes(_ENTRY_BYTES),
        salt=bytes(32),
    )
    yield sealing
    yield envelope.head.verify
    yield lambda: open_envelope(envelope, secret)


def _sync_ms(folder: Path, seconds: float) -> float:
    """Median of writing 4 kB and waiting for the disk, in a file that is removed."""
    path = folder / f".gossamer-calibrate-{os.getpid()}"
    times: list[float] = []
    block = os.urandom(SYNC_BYTES)
    try:
        with path.open("xb", buffering=0) as file:
            began = time.monotonic()
            while len(times) < 5 or (len(times) < 51 and time.monotonic() - began < seconds):
                start = time.monotonic()
                file.write(block)
                os.fsync(file.fileno())
                times.append((time.monotonic() - start) * 1e3)
    except OSError as error:
        raise StoreError(f"{folder}: the disk cannot be measured: {error.strerror}") from error
    finally:
        with suppress(OSError):
            path.unlink()
    return median(times)


def _within(**figures: float) -> Speed:
    """Three digits of each, within the range of its key."""
    lowest = 0.001
    assert set(figures) == {spec.name for spec in fields(Speed)}
    return Speed(**{name: max(lowest, float(f"{value:.3g}")) for name, value in figures.items()})
