"""Attacks with frames: every refusal has a reason, and is charged to who is to blame or to nobody.

The victim follows the author and mallory; whatever is refused changes none of its state.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer_agent.events import Append, Effect, Refused
from gossamer_agent.records import StandingRecord
from gossamer_crypto.envelope import (
    Envelope,
    Head,
    Kind,
    open_envelope,
    parse_envelope,
)
from gossamer_crypto.errors import Reason
from gossamer_crypto.feed import WINDOW_ENTRIES
from gossamer_crypto.identity import PeerId
from gossamer_crypto.labels import ENVELOPE_SIG
from gossamer_transport.codec import Codec, Coded
from gossamer_transport.delta import (
    Delta,
    Keyframe,
    pack_delta,
    pack_keyframe,
)
from gossamer_transport.errors import WireError
from gossamer_transport.replica import Replica
from gossamer_transport.wire import (
    EntryFrame,
    FollowFrame,
    HeadFrame,
    UnfollowFrame,
    WantFrame,
    pack_frame,
    unpack_frame,
)

if TYPE_CHECKING:
    from conftest import Shell, World

VICTIM, AUTHOR, MALLORY, SPARE, OUTSIDER = range(5)
PARAMETERS = 64
STEPS = 5

State = dict[str, object]


class Scene:
    """The author's first deltas have reached the victim."""

    def __init__(self, new_world: type[World], **policy: Any) -> None:
        self.members: set[PeerId] = set()
        self.world = world = new_world(5, members=self.members, parameters=PARAMETERS, **policy)
        self.members.update(world.peers[:OUTSIDER])
        self.victim: Shell = world.shell(VICTIM)
        self.victim.see([world.peers[AUTHOR], world.peers[MALLORY]])
        self.author = world.publisher(AUTHOR)
        self.author.record(Kind.START, world.genesis)
        self.entries: list[Envelope] = []
        for _ in range(STEPS):
            self.publish()
            assert self.receive(self.entries[-1]) == []
        self.victim.sent.clear()

    def publish(self) -> Envelope:
        params = self.world.drift(self.author.replica.vector, self.author.replica.step)
        (append,) = self.author.publish(params, self.author.replica.step + 1)
        assert isinstance(append, Append)
        self.entries.append(append.entry)
        return append.entry

    def receive(self, what: Envelope | Head | bytes, sender: int = AUTHOR) -> list[Effect]:
        if isinstance(what, Envelope):
            what = pack_frame(EntryFrame(what))
        elif isinstance(what, Head):
            what = pack_frame(HeadFrame(what))
        return self.victim.receive(self.world.peers[sender], what)

    def signed(self, body: bytes, kind: Kind = Kind.DELTA, **fields: Any) -> Envelope:
        """What the author, gone bad, appends next."""
        head = self.author.feed.head
        assert head is not None
        link = {"seq": head.header.seq + 1, "prev": head.entry_hash}
        return self.world.sealed(AUTHOR, kind, body, **link | fields)

    def steps(self) -> dict[PeerId, tuple[int, bytes]]:
        followed = self.victim.core.following._followed
        return {peer: (f.replica.step, f.replica.hash) for peer, f in followed.items()}

    def state(self) -> State:
        core = self.victim.core
        return {
            "params": core.params.tobytes(),
            "served": core.served.tobytes(),
            "round": core.round,
            "replica": core.publisher.replica.hash,
            "followers": core.publisher.followers,
            "followed": self.steps(),
        }

    def score(self, number: int) -> float:
        return self.victim.core.reputation.score(self.world.peers[number])


@pytest.fixture
def scene(new_world: type[World]) -> Scene:
    return Scene(new_world)


@pytest.fixture
def lenient(new_world: type[World]) -> Scene:
    """A swarm whose rule knows no reputation: nobody is quarantined."""
    return Scene(new_world, rule="median")


@dataclass(frozen=True, slots=True)
class Charge:
    """What a refusal costs. whom: a number, or None for nobody."""

    whom: int | None
    reason: Reason
    quarantined: bool


def check(scene: Scene, deliver: Callable[[], list[Effect]], charge: Charge) -> None:
    """One refusal, charged rightly, and no change but in the standing of whom it is charged to."""
    world, core = scene.world, scene.victim.core
    culprit = None if charge.whom is None else world.peers[charge.whom]
    before, innocent = scene.state(), [n for n in range(OUTSIDER + 1) if n != charge.whom]
    scores = [scene.score(number) for number in innocent]
    effects = deliver()
    (refused,) = (effect for effect in effects if isinstance(effect, Refused))
    assert (refused.culprit, refused.reason) == (culprit, charge.reason)
    assert [scene.score(number) for number in innocent] == scores
    after = scene.state()
    if charge.quarantined:
        assert culprit is not None
        assert core.reputation.is_quarantined(culprit)
        (append,) = (effect for effect in effects if isinstance(effect, Append))
        secret = world.swarm.epochs.secret(world.swarm.epochs.current)
        assert secret is not None
        record = StandingRecord.unpack(open_envelope(append.entry, secret))
        assert (record.peer, record.quarantined, record.reason) == (culprit, True, charge.reason)
        assert world.frames(effects) == [(culprit, UnfollowFrame())]
        assert before["followed"].pop(culprit) is not None  # type: ignore[attr-defined]
        assert before == after
    else:
        assert effects == [refused]
        assert before == after
        assert culprit is None or not core.reputation.is_quarantined(culprit)


# What only the sender can have done ------------------------------------------------------------


def oversized(scene: Scene) -> bytes:
    return bytes(scene.world.swarm.limits.frame_bytes_max + 1)


def garbage(scene: Scene) -> bytes:
    return b"\x93\x01\x02\x03"


def a_msgpack_bomb(scene: Scene) -> bytes:
    return b"\x94\x01" + b"\x9f" * 8000


def another_magic(scene: Scene) -> bytes:
    return pack_frame(EntryFrame(scene.entries[0])).replace(b"GSMR", b"XXXX")


def a_ciphertext_cut_short(scene: Scene) -> bytes:
    entry = scene.publish()
    return pack_frame(EntryFrame(replace(entry, ciphertext=entry.ciphertext[:-1])))


def a_signature_cut_short(scene: Scene) -> bytes:
    entry = scene.publish()
    head = replace(entry.head, signature=entry.head.signature[:-1])
    return pack_frame(EntryFrame(replace(entry, head=head)))


def forged_signature(scene: Scene) -> bytes:
    """In the author's name, with the signature of another entry."""
    entry = scene.publish()
    head = replace(entry.head, signature=scene.entries[0].head.signature)
    return pack_frame(EntryFrame(replace(entry, head=head)))


def altered_ciphertext(scene: Scene) -> bytes:
    entry = scene.publish()
    flipped = bytes([entry.ciphertext[0] ^ 1]) + entry.ciphertext[1:]
    return pack_frame(EntryFrame(replace(entry, ciphertext=flipped)))


def altered_seq(scene: Scene) -> bytes:
    entry = scene.publish()
    header = replace(entry.header, seq=entry.header.seq + 1)
    forged = parse_envelope(header.pack(), entry.ciphertext, entry.head.signature)
    return pack_frame(EntryFrame(forged))


def forged_fork(scene: Scene) -> bytes:
    """An attempt to frame the author: a second entry with a seq that we know."""
    entry = scene.entries[2]
    noise = b"\0" * len(entry.ciphertext)
    forged = parse_envelope(entry.head.header_bytes, noise, entry.head.signature)
    return pack_frame(EntryFrame(forged))


def forged_head(scene: Scene) -> bytes:
    head = scene.publish().head
    return pack_frame(HeadFrame(replace(head, ciphertext_hash=bytes(32))))


def re_signed_by_the_thief(scene: Scene) -> bytes:
    """The author's entry under mallory's signature, still in the author's name."""
    entry = scene.publish()
    message = entry.head.header_bytes + entry.head.ciphertext_hash
    signature = scene.world.identities[MALLORY].sign(ENVELOPE_SIG, message)
    return pack_frame(EntryFrame(replace(entry, head=replace(entry.head, signature=signature))))


def replay_of_anothers_entry(scene: Scene) -> bytes:
    return pack_frame(EntryFrame(scene.entries[1]))


def replay_from_below_the_window(scene: Scene) -> bytes:
    for _ in range(WINDOW_ENTRIES):
        assert scene.receive(scene.publish()) == []
    return pack_frame(EntryFrame(scene.entries[0]))


@pytest.mark.parametrize(
    ("attack", "reason"),
    [
        (oversized, Reason.TOO_LARGE),
        (garbage, Reason.BAD_FRAME),
        (a_msgpack_bomb, Reason.BAD_FRAME),
        (another_magic, Reason.BAD_HEADER),
        (a_ciphertext_cut_short, Reason.BAD_HEADER),
        (a_signature_cut_short, Reason.BAD_SIGNATURE),
        (forged_signature, Reason.BAD_SIGNATURE),
        (altered_ciphertext, Reason.BAD_SIGNATURE),
        (altered_seq, Reason.BAD_SIGNATURE),
        (forged_fork, Reason.BAD_SIGNATURE),
        (forged_head, Reason.BAD_SIGNATURE),
        (re_signed_by_the_thief, Reason.BAD_SIGNATURE),
        (replay_of_anothers_entry, Reason.REPLAYED),
        (replay_from_below_the_window, Reason.REPLAYED),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_sender_pays_for(
    scene: Scene, attack: Callable[[Scene], bytes], reason: Reason
) -> None:
    frame = attack(scene)
    check(scene, lambda: scene.receive(frame, MALLORY), Charge(MALLORY, reason, True))
    newest = scene.publish()
    gap = [entry for entry in scene.entries[-2:] if scene.receive(entry) == []]
    assert newest in gap, "the author that was named is still heard"
    assert scene.steps()[scene.world.peers[AUTHOR]][0] == scene.author.replica.step


def test_mallorys_own_ciphertext_under_the_authors_name(scene: Scene) -> None:
    """The thief of a ciphertext signs it as its own: author and key no longer fit together."""
    stolen = scene.publish()
    header = replace(stolen.header, author=scene.world.peers[MALLORY])
    packed = header.pack()
    message = packed + stolen.head.ciphertext_hash
    signature = scene.world.identities[MALLORY].sign(ENVELOPE_SIG, message)
    theft = parse_envelope(packed, stolen.ciphertext, signature)
    charge = Charge(MALLORY, Reason.BAD_COMMITMENT, True)
    check(scene, lambda: scene.receive(theft, MALLORY), charge)


# What costs nobody anything --------------------------------------------------------------------


def test_an_entry_of_another_swarm(scene: Scene) -> None:
    entry = scene.signed(b"", swarm=b"w" * 32)
    check(scene, lambda: scene.receive(entry), Charge(AUTHOR, Reason.WRONG_SWARM, False))


@pytest.mark.parametrize("epoch", [0, 2, 4, 2**64 - 1])
def test_an_entry_of_an_epoch_that_is_over_or_unknown(scene: Scene, epoch: int) -> None:
    entry = scene.signed(b"", epoch=epoch)
    check(scene, lambda: scene.receive(entry), Charge(AUTHOR, Reason.UNKNOWN_EPOCH, False))


@pytest.mark.parametrize(
    "frame",
    [
        pack_frame(FollowFrame(0)),
        pack_frame(UnfollowFrame()),
        pack_frame(WantFrame(bytes(32))),
        b"garbage",
        b"",
    ],
    ids=["follow", "unfollow", "want", "garbage", "empty"],
)
def test_an_outsider_is_not_served_and_takes_no_place(scene: Scene, frame: bytes) -> None:
    charge = Charge(OUTSIDER, Reason.NOT_A_MEMBER, False)
    check(scene, lambda: scene.receive(frame, OUTSIDER), charge)
    assert scene.world.peers[OUTSIDER] not in scene.victim.core.reputation


def test_an_evicted_author_is_heard_no_more(scene: Scene) -> None:
    entry = scene.publish()
    scene.members.discard(scene.world.peers[AUTHOR])
    check(scene, lambda: scene.receive(entry), Charge(AUTHOR, Reason.NOT_A_MEMBER, False))
    relayed = Charge(MALLORY, Reason.NOT_A_MEMBER, False)
    check(scene, lambda: scene.receive(entry, MALLORY), relayed)


def test_an_evicted_peer_loses_its_slot(scene: Scene) -> None:
    scene.members.discard(scene.world.peers[AUTHOR])
    scene.victim.run_round()
    assert scene.victim.core.following.peers == (scene.world.peers[MALLORY],)


def test_an_old_entry_from_its_own_author_may_be_the_networks_fault(scene: Scene) -> None:
    old = replay_from_below_the_window(scene)
    check(scene, lambda: scene.receive(old), Charge(None, Reason.REPLAYED, False))


def test_a_broken_chain_is_shown_to_be_the_authors(scene: Scene) -> None:
    entry = scene.signed(b"", prev=b"p" * 32)
    check(scene, lambda: scene.receive(entry), Charge(AUTHOR, Reason.BROKEN_CHAIN, False))


@pytest.mark.parametrize("kind", [Kind.START, Kind.MERGE, Kind.STANDING])
def test_records_are_not_for_followers(scene: Scene, kind: Kind) -> None:
    entry = scene.signed(b"record", kind)
    check(scene, lambda: scene.receive(entry), Charge(AUTHOR, Reason.UNEXPECTED, False))


def test_duplicates_by_the_network_are_not_even_shown(scene: Scene) -> None:
    before = scene.state()
    for entry in [*scene.entries, *reversed(scene.entries)]:
        assert scene.receive(entry) == []
        assert scene.receive(entry.head) == []
    assert scene.state() == before
    assert scene.score(AUTHOR) == 0.5


def test_unsolicited_entries_are_dropped_silently(scene: Scene) -> None:
    stranger = scene.world.publisher(SPARE)
    (append,) = stranger.publish(stranger.replica.vector, 1)
    assert isinstance(append, Append)
    before = scene.state()
    for sender in (SPARE, MALLORY):
        assert scene.receive(append.entry, sender) == []
        assert scene.receive(append.entry.head, sender) == []
    own = next(scene.victim.entries(Kind.START))
    assert scene.receive(own, MALLORY) == [], "nobody follows itself"
    assert scene.state() == before


def test_who_passes_on_what_is_new_does_no_wrong(scene: Scene) -> None:
    entry = scene.publish()
    assert scene.receive(entry, MALLORY) == []
    assert scene.steps()[scene.world.peers[AUTHOR]] == (STEPS + 1, scene.author.replica.hash)
    assert scene.receive(entry) == []
    assert scene.score(MALLORY) == scene.score(AUTHOR) == 0.5


# What the author signed ------------------------------------------------------------------------


def delta(scene: Scene, *, scale: float = 0.001, values: int = 8, **changes: Any) -> bytes:
    """The body of a delta that fits, but for the changes and its hash."""
    replica = scene.author.replica
    coded = Coded(Codec.SIGN1, np.array([scale], "<f2").tobytes(), bytes(values))
    fields = {"round": replica.round, "step": replica.step + 1, "rebase": False, "coded": coded}
    return pack_delta(Delta(**{**fields, "replica_hash": bytes(32), **changes}))


def keyframe(scene: Scene, *, scale: float = 0.001, values: int = 64, **changes: Any) -> bytes:
    replica = scene.author.replica
    coded = Coded(Codec.INT8, np.array([scale], "<f2").tobytes(), bytes(values))
    fields = {"round": replica.round, "step": replica.step + 1, "coded": coded}
    return pack_keyframe(Keyframe(**{**fields, "replica_hash": bytes(32), **changes}))


def no_delta_at_all(scene: Scene) -> Envelope:
    return scene.signed(b"\x91\x01")


def a_delta_of_another_length(scene: Scene) -> Envelope:
    return scene.signed(delta(scene, values=9))


def a_delta_of_another_codec(scene: Scene) -> Envelope:
    coded = Coded(Codec.FLOAT32, b"", bytes(4 * PARAMETERS))
    return scene.signed(delta(scene, coded=coded))


def a_keyframe_that_is_a_delta(scene: Scene) -> Envelope:
    return scene.signed(delta(scene), Kind.KEYFRAME)


def a_keyframe_of_another_length(scene: Scene) -> Envelope:
    return scene.signed(keyframe(scene, values=65), Kind.KEYFRAME)


def nan_delta(scene: Scene) -> Envelope:
    return scene.signed(delta(scene, scale=np.nan))


def infinite_delta(scene: Scene) -> Envelope:
    return scene.signed(delta(scene, scale=np.inf))


def nan_keyframe(scene: Scene) -> Envelope:
    return scene.signed(keyframe(scene, scale=np.nan), Kind.KEYFRAME)


def a_delta_beyond_the_bound(scene: Scene) -> Envelope:
    return scene.signed(delta(scene, scale=200.0))


def a_delta_that_leads_elsewhere(scene: Scene) -> Envelope:
    return scene.signed(delta(scene))


def a_keyframe_that_leads_elsewhere(scene: Scene) -> Envelope:
    return scene.signed(keyframe(scene), Kind.KEYFRAME)


def sealed_under_another_secret(scene: Scene) -> Envelope:
    return scene.signed(delta(scene), secret=b"s" * 32)


def noise_under_the_right_commitment(scene: Scene) -> Envelope:
    entry = scene.signed(delta(scene))
    noise = bytes(len(entry.ciphertext))
    message = entry.head.header_bytes + hashlib.sha256(noise).digest()
    signature = scene.world.identities[AUTHOR].sign(ENVELOPE_SIG, message)
    return parse_envelope(entry.head.header_bytes, noise, signature)


def equivocation(scene: Scene) -> Envelope:
    first = scene.entries[-1].header
    return scene.signed(b"another story", seq=first.seq, prev=first.prev)


AUTHORS_OFFENCES = [
    (no_delta_at_all, Reason.BAD_DELTA),
    (a_delta_of_another_length, Reason.BAD_DELTA),
    (a_delta_of_another_codec, Reason.BAD_DELTA),
    (a_keyframe_that_is_a_delta, Reason.BAD_DELTA),
    (a_keyframe_of_another_length, Reason.BAD_DELTA),
    (nan_delta, Reason.NON_FINITE),
    (infinite_delta, Reason.NON_FINITE),
    (nan_keyframe, Reason.NON_FINITE),
    (a_delta_beyond_the_bound, Reason.OUT_OF_BOUNDS),
    (a_delta_that_leads_elsewhere, Reason.REPLICA_MISMATCH),
    (a_keyframe_that_leads_elsewhere, Reason.REPLICA_MISMATCH),
    (sealed_under_another_secret, Reason.BAD_COMMITMENT),
    (noise_under_the_right_commitment, Reason.UNDECRYPTABLE),
    (equivocation, Reason.FORK),
]


@pytest.mark.parametrize("sender", [AUTHOR, MALLORY], ids=["direct", "passed-on"])
@pytest.mark.parametrize(
    ("attack", "reason"), AUTHORS_OFFENCES, ids=lambda value: getattr(value, "__name__", "")
)
def test_the_author_pays_for(
    scene: Scene, attack: Callable[[Scene], Envelope], reason: Reason, sender: int
) -> None:
    """Its signature is on it, whoever brings it."""
    entry = attack(scene)
    check(scene, lambda: scene.receive(entry, sender), Charge(AUTHOR, reason, True))


@pytest.mark.parametrize(
    ("attack", "reason"), AUTHORS_OFFENCES, ids=lambda value: getattr(value, "__name__", "")
)
def test_without_reputation_it_is_refused_all_the_same(
    lenient: Scene, attack: Callable[[Scene], Envelope], reason: Reason
) -> None:
    entry = attack(lenient)
    check(lenient, lambda: lenient.receive(entry), Charge(AUTHOR, reason, False))


def test_a_round_that_runs_back(scene: Scene) -> None:
    assert scene.receive(scene.publish()) == []
    stale = scene.signed(delta(scene, round=scene.author.replica.round - 1))
    check(scene, lambda: scene.receive(stale), Charge(AUTHOR, Reason.STALE, False))


def test_a_bad_delta_that_waits_is_charged_when_its_turn_comes(scene: Scene) -> None:
    missing = scene.publish()
    bad = scene.signed(delta(scene, scale=np.nan))
    assert scene.receive(bad) == []
    steps = scene.steps()
    (refused, *_) = scene.receive(missing)
    assert isinstance(refused, Refused)
    assert (refused.culprit, refused.reason) == (scene.world.peers[AUTHOR], Reason.NON_FINITE)
    assert steps[scene.world.peers[AUTHOR]][0] == STEPS


@pytest.mark.parametrize("step", [STEPS + 1, 10**6, 2**63 - 1])
def test_a_keyframe_may_leap_and_nothing_breaks(scene: Scene, step: int) -> None:
    """Only the author itself is harmed: what follows the last step cannot be said."""
    swarm = scene.world.swarm
    replica = Replica(swarm.initial, swarm.policy.codec, swarm.contract.bound)
    replica.publish(swarm.initial, 10, np.random.default_rng(0), rebase=True)
    leap = pack_keyframe(replace(replica.keyframe(), step=step))
    assert scene.receive(scene.signed(leap, Kind.KEYFRAME)) == []
    assert scene.steps()[scene.world.peers[AUTHOR]] == (step, replica.hash)
    for _ in range(4):
        scene.victim.run_round()
    asked = scene.world.frames(scene.victim.sent)
    assert (scene.world.peers[AUTHOR], FollowFrame(step)) in asked


def test_an_offender_is_logged_once(scene: Scene) -> None:
    for _ in range(10):
        scene.receive(b"garbage", MALLORY)
    assert len(list(scene.victim.entries(Kind.STANDING))) == 1
    assert len(scene.victim.refused) == 10


# Anything at all -------------------------------------------------------------------------------


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.binary(max_size=80), st.integers(0, OUTSIDER)), max_size=8))
def test_arbitrary_bytes_never_raise(
    new_world: type[World], frames: list[tuple[bytes, int]]
) -> None:
    scene = Scene(new_world, rule="median")
    before = scene.state()
    for frame, sender in frames:
        for effect in scene.receive(frame, sender):
            assert isinstance(effect, Refused)
    assert scene.state() == before


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(
    which=st.integers(0, 4),
    at=st.integers(0),
    patch=st.binary(max_size=3),
    cut=st.integers(0, 3),
    sender=st.sampled_from([AUTHOR, MALLORY]),
)
def test_damaged_frames_never_raise_and_change_nothing(
    new_world: type[World], which: int, at: int, patch: bytes, cut: int, sender: int
) -> None:
    scene = Scene(new_world, rule="median")
    newest = scene.publish()
    raw = [
        pack_frame(EntryFrame(newest)),
        pack_frame(EntryFrame(scene.entries[0])),
        pack_frame(HeadFrame(newest.head)),
        pack_frame(WantFrame(bytes(32))),
        pack_frame(FollowFrame(300)),
    ][which]
    at %= len(raw)
    frame = raw[:at] + patch + raw[at + cut :]
    limits = scene.world.swarm.limits
    with suppress(WireError):
        # An integer has several encodings: the frame may differ, what is signed does not.
        if unpack_frame(frame, limits) == unpack_frame(raw, limits):
            return
    before = scene.state()
    scene.receive(frame, sender)
    after = scene.state()
    assert after["followed"] == before["followed"]
    assert after["params"] == before["params"]


SIZES = st.sampled_from([0, 1, 5, 6, 7, 2**63 - 1, 2**64 - 1]) | st.integers(0, 2**64 - 1)
WIRE_INTS = st.sampled_from([0, 1, 5, 6, 7, 13, 2**63 - 1]) | st.integers(0, 2**63 - 1)
HASHES = st.just(bytes(32)) | st.binary(min_size=32, max_size=32)
SCALES = st.binary(min_size=2, max_size=2)
BODIES = st.one_of(
    st.binary(max_size=200),
    st.builds(
        Delta,
        round=WIRE_INTS,
        step=WIRE_INTS,
        rebase=st.booleans(),
        coded=st.builds(Coded, st.just(Codec.SIGN1), SCALES, st.binary(min_size=8, max_size=8)),
        replica_hash=HASHES,
    ).map(pack_delta),
    st.builds(
        Keyframe,
        round=WIRE_INTS,
        step=WIRE_INTS,
        coded=st.builds(Coded, st.just(Codec.INT8), SCALES, st.binary(min_size=64, max_size=64)),
        replica_hash=HASHES,
    ).map(pack_keyframe),
)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(
    crimes=st.lists(
        st.tuples(
            BODIES,
            st.sampled_from(Kind),
            st.fixed_dictionaries(
                {},
                optional={
                    "seq": SIZES,
                    "prev": HASHES,
                    "incarnation": SIZES,
                    "epoch": st.sampled_from([0, 2, 3, 4, 2**64 - 1]),
                    "swarm": HASHES,
                    "secret": HASHES,
                },
            ),
            st.booleans(),
        ),
        max_size=6,
    ),
    rule=st.sampled_from(["gossamer", "median"]),
)
def test_nothing_that_a_member_can_sign_raises_or_harms_another(
    new_world: type[World],
    crimes: list[tuple[bytes, Kind, dict[str, Any], bool]],
    rule: str,
) -> None:
    scene = Scene(new_world, rule=rule, quorum=2)
    mallory, good = scene.world.publisher(MALLORY), scene.world.peers[MALLORY]
    (append,) = mallory.publish(mallory.replica.vector, 1)
    assert isinstance(append, Append)
    assert scene.receive(append.entry, MALLORY) == []
    honest = scene.steps()[good]
    for body, kind, fields, as_head in crimes:
        entry = scene.signed(body, kind, **fields)
        for effect in scene.receive(entry.head if as_head else entry):
            if isinstance(effect, Refused):
                assert effect.culprit in (scene.world.peers[AUTHOR], None)
    for _ in range(3):
        scene.victim.run_round()
        scene.receive(scene.publish())
    assert np.isfinite(scene.victim.core.params).all()
    assert scene.steps()[good] == honest
    assert scene.score(MALLORY) > 0
