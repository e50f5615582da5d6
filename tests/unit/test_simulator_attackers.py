"""Attacks against their definitions, and attackers against the checks of a real agent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest

from gossamer_agent.errors import ConfigError
from gossamer_agent.events import Append, Effect, PeersSeen, Received, RoundDone, RoundDue, Send
from gossamer_agent.events import Started as StartedEvent
from gossamer_agent.reputation import START
from gossamer_crypto.envelope import Envelope, Kind
from gossamer_crypto.errors import Reason
from gossamer_crypto.feed import verify_chain
from gossamer_crypto.identity import PeerId
from gossamer_simulator.attackers.cabal import Cabal
from gossamer_simulator.attackers.cores import (
    VICTIMS_PER_ROUND,
    Attacker,
    Forger,
    NonFiniteBomber,
    Replayer,
    VectorAttacker,
)
from gossamer_simulator.attackers.table import ATTACKS, MIX, assigned, check_attack
from gossamer_simulator.attackers.vectors import (
    VECTOR_ATTACKS,
    Seen,
    VectorAttack,
    alie,
    gaussian,
    ipm,
    mimic,
    min_max,
    noisy_alie,
    noisy_ipm,
    sign_flipping,
)
from gossamer_transport.codec import Codec
from gossamer_transport.limits import Limits
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
    from conftest import World

Floats = npt.NDArray[np.float32]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# Formulas ----------------------------------------------------------------------------------------


def cabal_of(before: Floats, after: Floats) -> Cabal:
    cabal = Cabal(before[0], len(before))
    for row in range(len(before)):
        cabal.watch(row, before[row], after[row])
    return cabal


@pytest.fixture
def before() -> Floats:
    return rng(1).random((5, 7), dtype=np.float32)


@pytest.fixture
def after(before: Floats) -> Floats:
    return before + rng(2).random((5, 7), dtype=np.float32) - np.float32(0.3)


@pytest.fixture
def seen(before: Floats, after: Floats) -> Seen:
    return cabal_of(before, after).seen()


def test_the_cabal_knows_mean_and_spread_of_the_honest(
    seen: Seen, before: Floats, after: Floats
) -> None:
    exact = after.astype(np.float64)
    assert np.allclose(seen.mean, exact.mean(axis=0), atol=1e-6)
    assert np.allclose(seen.sd, exact.std(axis=0), atol=1e-6)
    assert np.allclose(seen.before, before.astype(np.float64).mean(axis=0), atol=1e-6)
    assert np.array_equal(seen.honest, after)


def test_the_cabal_looks_again_when_an_honest_peer_has_moved(before: Floats, after: Floats) -> None:
    cabal = cabal_of(before, after)
    old = cabal.seen().mean.copy()
    assert cabal.seen() is cabal.seen()
    cabal.watch(2, before[2], after[2] + 5)
    assert np.allclose(cabal.seen().mean, old + 1, atol=1e-5)


def test_before_anybody_trained_the_honest_are_all_at_the_start() -> None:
    start = rng().random(6, dtype=np.float32)
    seen = Cabal(start, 3).seen()
    assert np.allclose(seen.mean, start)
    assert np.allclose(seen.before, start)
    assert np.allclose(seen.sd, 0, atol=1e-6)


def test_sign_flipping_is_minus_five_times_the_mean(seen: Seen, after: Floats) -> None:
    assert np.allclose(sign_flipping(seen, rng()), -5 * after.mean(axis=0), atol=1e-5)


def test_alie_is_the_mean_less_one_and_a_half_deviations(seen: Seen, after: Floats) -> None:
    expected = after.mean(axis=0) - 1.5 * after.std(axis=0)
    assert np.allclose(alie(seen, rng()), expected, atol=1e-5)


def test_ipm_is_the_honest_step_reversed_and_a_tenth_longer(
    seen: Seen, before: Floats, after: Floats
) -> None:
    start, end = before.mean(axis=0), after.mean(axis=0)
    step = ipm(seen, rng()) - start
    assert np.allclose(step, -1.1 * (end - start), atol=1e-5)
    assert float(step @ (end - start)) < 0


def test_mimic_is_the_honest_vector_farthest_from_the_mean(seen: Seen, after: Floats) -> None:
    away = [np.linalg.norm(row - after.mean(axis=0)) for row in after]
    copied = mimic(seen, rng())
    assert np.array_equal(copied, after[int(np.argmax(away))])
    assert not np.shares_memory(copied, seen.honest)


def test_min_max_goes_as_far_as_the_honest_diameter_allows(seen: Seen, after: Floats) -> None:
    def farthest(vector: npt.NDArray[Any]) -> float:
        return max(float(np.linalg.norm(vector - row)) for row in after)

    diameter = max(farthest(row) for row in after)
    vector = min_max(seen, rng()).astype(np.float64)
    mean, sd = after.mean(axis=0), after.std(axis=0)
    factors = (mean - vector) / sd
    assert np.allclose(factors, factors[0], rtol=1e-3)
    assert factors[0] > 0
    assert farthest(vector) <= diameter * (1 + 1e-6)
    assert farthest(vector - 0.001 * factors[0] * sd) > diameter


def test_min_max_stays_at_the_mean_when_all_honest_agree() -> None:
    start = rng().random(6, dtype=np.float32)
    assert np.allclose(min_max(Cabal(start, 4).seen(), rng()), start)


def wide(seen: Seen, size: int = 40_000) -> Seen:
    """The same knowledge of many coordinates, for statistics."""
    times = -(-size // seen.mean.size)
    return Seen(
        honest=np.tile(seen.honest, times),
        mean=np.tile(seen.mean, times),
        sd=np.tile(seen.sd, times),
        before=np.tile(seen.before, times),
    )


@pytest.mark.parametrize(
    ("attack", "centre", "spread"),
    [
        (gaussian, lambda seen: seen.mean, lambda seen: np.full_like(seen.sd, 0.5)),
        (noisy_alie, lambda seen: alie(seen, rng()), lambda seen: 0.8 * seen.sd),
        (noisy_ipm, lambda seen: ipm(seen, rng()), lambda seen: 0.8 * seen.sd),
    ],
)
def test_noise_is_normal_of_the_right_size_and_new_each_time(
    seen: Seen,
    attack: VectorAttack,
    centre: Callable[[Seen], Floats],
    spread: Callable[[Seen], Floats],
) -> None:
    known = wide(seen)
    chance = rng()
    first, second = ((attack(known, chance) - centre(known)) / spread(known) for _ in range(2))
    for noise in (first, second):
        assert abs(float(noise.mean())) < 0.02
        assert float(noise.std()) == pytest.approx(1, abs=0.02)
        within = [float((np.abs(noise) < sds).mean()) for sds in (1, 2, 3)]
        assert within == pytest.approx([0.683, 0.954, 0.997], abs=0.01)
    assert abs(float(np.corrcoef(first, second)[0, 1])) < 0.02


@pytest.mark.parametrize("name", VECTOR_ATTACKS)
def test_every_attack_gives_one_finite_vector_and_leaves_the_honest_alone(
    name: str, seen: Seen, after: Floats
) -> None:
    vector = VECTOR_ATTACKS[name](seen, rng())
    assert vector.dtype == np.float32
    assert vector.shape == (7,)
    assert np.isfinite(vector).all()
    assert np.array_equal(seen.honest, after)
    assert np.array_equal(vector, VECTOR_ATTACKS[name](seen, rng()))  # chance is all from the rng


# Names -------------------------------------------------------------------------------------------


def test_an_unknown_attack_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="unknown attack 'ddos'; choose from sign-flipping, "):
        check_attack("ddos")
    for name in ATTACKS:
        check_attack(name)


def test_a_mix_has_all_its_attacks_in_turn() -> None:
    assert set(MIX) >= {"sign-flipping", "alie", "gaussian", "nan", "replay", "forge"}
    assert Counter(assigned("mix", 2 * len(MIX))) == dict.fromkeys(MIX, 2)
    assert assigned("nan", 3) == ["nan", "nan", "nan"]
    assert assigned("mix", 0) == []


# On the wire -------------------------------------------------------------------------------------


class Scene:
    """An agent that is attacked, an honest author whom it follows, and an attacker."""

    def __init__(self, world: World, make: Callable[..., Attacker], **more: Any) -> None:
        self.world = world
        self.victim, self.author = world.shell(0), world.shell(1)
        self.author.learn = lambda params: world.drift(params, "learn", self.author.core.round)
        limits = world.swarm.limits
        self.attacker = make(world.peers[2], world.publisher(2), limits, rng(5), **more)
        self.entries: list[Envelope] = []
        self.attack(StartedEvent(genesis=world.genesis))
        self.victim.see([self.author.peer_id, self.attacker.peer_id])
        self.attack(PeersSeen(peers=tuple(world.peers)))
        self.deliver()

    def attack(self, event: Any) -> list[Effect]:
        """Tell the attacker something and deliver what it sends."""
        effects = self.attacker.handle(0.0, event)
        for effect in effects:
            if isinstance(effect, Append):
                self.entries.append(effect.entry)
            elif isinstance(effect, Send):
                for shell in (self.victim, self.author):
                    if shell.peer_id == effect.peer:
                        shell.receive(self.attacker.peer_id, effect.frame)
        return effects

    def deliver(self) -> None:
        """Deliver what the honest sent, until nobody says anything."""
        while self.victim.sent or self.author.sent:
            for shell, other in (self.victim, self.author), (self.author, self.victim):
                sent, shell.sent = shell.sent, []
                for send in sent:
                    if send.peer == other.peer_id:
                        other.receive(shell.peer_id, send.frame)
                    else:
                        self.attack(Received(sender=shell.peer_id, frame=send.frame))

    def author_speaks(self) -> None:
        self.author.run_round()
        self.deliver()

    def replica(self, peer: PeerId) -> Any:
        return self.victim.core.following._followed[peer].replica

    def reasons(self) -> list[tuple[Reason, PeerId | None]]:
        return [(refused.reason, refused.culprit) for refused in self.victim.refused]


def only(effects: Sequence[Effect], kind: type[Effect]) -> list[Any]:
    return [effect for effect in effects if isinstance(effect, kind)]


@pytest.mark.parametrize("codec", list(Codec))
@pytest.mark.parametrize("rounds", [1, 2])
def test_not_a_number_and_infinity_are_refused_and_charged_to_the_bomber(
    new_world: type[World], codec: Codec, rounds: int
) -> None:
    scene = Scene(new_world(3, codec=codec), NonFiniteBomber)
    bomber = scene.attacker.peer_id
    effects = [scene.attacker.handle(0.0, RoundDue()) for _ in range(rounds)][-1]
    (send,) = only(effects, Send)
    replica = scene.replica(bomber)
    scene.victim.receive(bomber, send.frame)
    assert scene.reasons() == [(Reason.NON_FINITE, bomber)]
    assert replica.step == 0
    assert np.array_equal(replica.vector, scene.world.swarm.initial)
    assert scene.victim.core.reputation.is_quarantined(bomber)
    assert bomber not in scene.victim.core.following.peers  # it lost its slot


def test_a_bomb_has_nan_in_one_round_and_infinity_in_the_next(new_world: type[World]) -> None:
    scene = Scene(new_world(3, codec=Codec.FLOAT32), NonFiniteBomber)
    feed = scene.world.following()
    values = []
    for _ in range(2):
        (entry,) = only(scene.attacker.handle(0.0, RoundDue()), Append)
        feed.follow(scene.attacker.peer_id, 1)
        refusal = feed.accept(scene.attacker.peer_id, entry.entry, 1)
        assert refusal is not None
        assert refusal.reason is Reason.NON_FINITE
        values.append(entry.entry.ciphertext)
    assert values[0] != values[1]


def test_forged_entries_are_refused_and_charged_to_the_forger(new_world: type[World]) -> None:
    scene = Scene(new_world(3), Forger)
    author, forger = scene.author.peer_id, scene.attacker.peer_id
    scene.author_speaks()
    step = scene.replica(author).step
    effects = scene.attack(RoundDue())
    assert {send.peer for send in only(effects, Send)} == {author, scene.victim.peer_id}
    assert scene.reasons() == [(Reason.BAD_SIGNATURE, forger)]
    assert scene.victim.core.reputation.is_quarantined(forger)
    assert scene.victim.core.reputation.score(author) == START
    assert scene.replica(author).step == step


def test_a_forgery_does_not_stand_in_the_way_of_the_true_entry(new_world: type[World]) -> None:
    scene = Scene(new_world(3), Forger)
    author = scene.author.peer_id
    scene.author_speaks()
    scene.attack(RoundDue())
    before = scene.replica(author).step
    scene.author_speaks()
    assert scene.replica(author).step == before + 1
    assert scene.replica(author).hash == scene.author.core.publisher.replica.hash
    assert len(scene.victim.refused) == 1


def test_replayed_entries_are_refused_and_charged_to_the_replayer(new_world: type[World]) -> None:
    scene = Scene(new_world(3), Replayer)
    author, replayer = scene.author.peer_id, scene.attacker.peer_id
    scene.author_speaks()
    scene.author_speaks()
    before = scene.replica(author).hash
    scene.attack(RoundDue())
    assert scene.reasons() == [(Reason.REPLAYED, replayer)]
    assert scene.victim.core.reputation.is_quarantined(replayer)
    assert not scene.victim.core.reputation.is_quarantined(author)
    assert scene.replica(author).hash == before


@pytest.mark.parametrize("make", [Forger, Replayer])
def test_without_a_capture_there_is_nothing_to_send(
    new_world: type[World], make: type[Attacker]
) -> None:
    scene = Scene(new_world(3), make)
    assert scene.attack(RoundDue()) == [RoundDone(round=1, merged=0, committed=False)]


def test_an_attacker_on_the_wire_bothers_a_bounded_number_of_peers(
    new_world: type[World],
) -> None:
    world = new_world(VICTIMS_PER_ROUND + 6)
    scene = Scene(world, Replayer)
    scene.author_speaks()
    victims = [send.peer for send in only(scene.attack(RoundDue()), Send)]
    assert len(victims) == len(set(victims)) == VICTIMS_PER_ROUND
    assert scene.attacker.peer_id not in victims


def liar(scene_world: World, attack: VectorAttack) -> tuple[Callable[..., Attacker], Cabal]:
    cabal = Cabal(scene_world.swarm.initial, 2)
    bound = scene_world.contract.bound

    def make(*parts: Any) -> Attacker:
        return VectorAttacker(*parts, attack=attack, cabal=cabal, bound=bound)

    return make, cabal


@pytest.mark.parametrize("codec", list(Codec))
def test_a_poisoned_vector_passes_the_checks_and_reaches_the_replica(
    new_world: type[World], codec: Codec
) -> None:
    world = new_world(3, codec=codec)
    make, cabal = liar(world, sign_flipping)
    scene = Scene(world, make)
    for _ in range(12):
        cabal.watch(0, world.swarm.initial, world.drift(world.swarm.initial, "a"))
        effects = scene.attack(RoundDue())
        assert len(only(effects, Append)) == len(only(effects, Send)) == 1
    lie = -5 * cabal.seen().mean
    replica = scene.replica(scene.attacker.peer_id)
    assert scene.victim.refused == []
    assert replica.step == 12
    assert replica.hash == scene.attacker.publisher.replica.hash
    gone = np.linalg.norm(replica.vector - lie) / np.linalg.norm(world.swarm.initial - lie)
    assert gone < {Codec.FLOAT32: 1e-6, Codec.INT8: 0.02, Codec.SIGN1: 0.5}[codec]


def test_a_lie_stays_within_the_bound_of_the_contract(new_world: type[World]) -> None:
    world = new_world(3, codec=Codec.FLOAT32)
    make, cabal = liar(world, sign_flipping)
    scene = Scene(world, make)
    far = np.full(64, 90, np.float32)
    cabal.watch(0, far, far)
    cabal.watch(1, far, -far / 9)
    scene.attack(RoundDue())
    assert scene.victim.refused == []
    assert np.array_equal(scene.replica(scene.attacker.peer_id).vector, np.full(64, -100))


def test_an_attacker_that_cannot_publish_is_silent_and_comes_back(new_world: type[World]) -> None:
    world = new_world(3)
    lies = [np.full(64, np.nan, np.float32), world.swarm.initial]
    make, _ = liar(world, lambda seen, rng: lies.pop(0))
    scene = Scene(world, make)
    assert scene.attack(RoundDue()) == [RoundDone(round=1, merged=0, committed=False)]
    assert len(only(scene.attack(RoundDue()), Send)) == 1
    assert scene.replica(scene.attacker.peer_id).step == 1


@pytest.mark.parametrize("make", [Forger, Replayer, NonFiniteBomber, None])
def test_the_log_of_an_attacker_verifies(
    new_world: type[World], make: type[Attacker] | None
) -> None:
    world = new_world(3)
    scene = Scene(world, make or liar(world, alie)[0])
    scene.author_speaks()
    for _ in range(3):
        scene.attack(RoundDue())
    report = verify_chain(scene.entries, world.swarm.swarm_id)
    assert report.ok, report.reason
    assert report.author == scene.attacker.peer_id
    assert scene.entries[0].header.kind is Kind.START


def test_junk_is_ignored_and_followers_are_served(new_world: type[World]) -> None:
    limits = Limits.for_model(64)
    small = Limits(
        frame_bytes_max=limits.frame_bytes_max,
        receive_bytes_max=limits.receive_bytes_max,
        inline_bytes_max=1,
    )
    world = new_world(3, limits=small)
    scene = Scene(world, liar(world, alie)[0])
    attacker, victim = scene.attacker, scene.victim.peer_id
    for junk in (b"", b"\xc1", bytes(200)):
        assert attacker.handle(0.0, Received(sender=victim, frame=junk)) == []
    (announced,) = only(attacker.handle(0.0, RoundDue()), Send)
    head = unpack_frame(announced.frame, small)
    assert isinstance(head, HeadFrame)
    want = Received(sender=victim, frame=pack_frame(WantFrame(head.head.entry_hash)))
    (served,) = only(attacker.handle(0.0, want), Send)
    assert isinstance(unpack_frame(served.frame, small), EntryFrame)
    attacker.handle(0.0, Received(sender=victim, frame=pack_frame(UnfollowFrame())))
    assert only(attacker.handle(0.0, RoundDue()), Send) == []
    attacker.handle(0.0, Received(sender=victim, frame=pack_frame(FollowFrame(0))))
    (keyframe,) = only(attacker.handle(0.0, RoundDue()), Send)
    assert isinstance(unpack_frame(keyframe.frame, small), HeadFrame)
