"""Personal layers: what is shared, what never leaves a device, what is kept over a restart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer_agent import publisher
from gossamer_agent.errors import ConfigError, ModelError, StoreError
from gossamer_agent.events import Train
from gossamer_agent.exit_codes import ExitCode
from gossamer_agent.layers import Layer
from gossamer_agent.learner import Learner, Score, Training, Vector
from gossamer_agent.learning import LocalLearning
from gossamer_agent.models import load_learner
from gossamer_agent.policy import Policy
from gossamer_agent.synthetic import SyntheticLearner, make_samples
from gossamer_agent.training.agreed import agreed_learner, parse_names
from gossamer_agent.training.combining import AdaptiveState
from gossamer_agent.training.options import LocalOptions
from gossamer_agent.training.own import for_device, own_learner, state_file
from gossamer_agent.training.personal import PersonalLearner
from gossamer_agent.training.split import Split, split_by
from gossamer_agent.training.state import FILE_NAME, LearningState, StateFile
from gossamer_agent.training.steppers import Moments
from gossamer_agent.usefulness import GAIN_MAX, PEERS_MAX, Usefulness
from gossamer_crypto.errors import GenesisError
from gossamer_crypto.identity import PeerId
from gossamer_simulator.keep_logs import write_logs
from gossamer_simulator.peers import build_swarm
from gossamer_simulator.scenario import Scenario
from gossamer_simulator.simulation import prepare, run

P = 20
INNER = SyntheticLearner(P)
LAYERS = tuple(
    Layer(name, offset, size, ())
    for name, offset, size in (("body", 0, 8), ("middle", 8, 5), ("head", 13, 7))
)
DATA = make_samples(P, 32, np.random.default_rng(0))
BINDING = bytes(range(32))


def personal(*names: str, steps: int = 0) -> PersonalLearner:
    return PersonalLearner(INNER, split_by(LAYERS, names or ("head",), P), personal_steps=steps)


def train(learner: Learner, params: Vector, **options: Any) -> Vector:
    return learner.train(params, DATA, Training(**options), np.random.default_rng(1)).params


class TestSplit:
    @given(st.data())
    @settings(max_examples=30)
    def test_the_parts_make_the_whole(self, data: st.DataObject) -> None:
        names = data.draw(st.sets(st.sampled_from(["body", "middle", "head"]), min_size=1))
        if len(names) == 3:
            return
        split = split_by(LAYERS, sorted(names), P)
        whole = np.arange(P, dtype=np.float32)
        shared, own = split.shared_part(whole), split.personal_part(whole)
        assert shared.size == split.shared_size and own.size == split.personal_size
        assert sorted([*shared, *own]) == whole.tolist()
        assert split.join(shared, own).tobytes() == whole.tobytes()

    @pytest.mark.parametrize(
        ("names", "message"),
        [
            (("tail",), "no layer 'tail'; it has body, middle, head"),
            (("body", "head", "middle"), "nothing to share"),
        ],
    )
    def test_names_that_make_no_split(self, names: tuple[str, ...], message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            split_by(LAYERS, names, P)

    def test_layers_outside_the_vector(self) -> None:
        with pytest.raises(ModelError, match="not inside"):
            split_by(LAYERS, ("head",), P - 1)
        with pytest.raises(ModelError, match="split is for"):
            PersonalLearner(INNER, Split(P + 1, (slice(0, 1),), (slice(1, P + 1),)))


class TestPersonalLearner:
    def test_its_contract_has_the_shared_parameters_only(self) -> None:
        learner = personal()
        assert learner.contract.parameters == 13
        assert learner.init().tobytes() == INNER.init()[:13].tobytes()
        assert learner.model_sha256 == INNER.model_sha256
        assert learner.contract.digest() != INNER.contract.digest()

    def test_fedper_trains_as_the_whole_model_does(self) -> None:
        learner = personal()
        whole = train(INNER, INNER.init(), momentum=0.5)
        assert train(learner, learner.init(), momentum=0.5).tobytes() == whole[:13].tobytes()
        assert learner.personal.tobytes() == whole[13:].tobytes()
        assert learner.whole(whole[:13]).tobytes() == whole.tobytes()

    def test_fedrep_trains_one_part_after_the_other(self) -> None:
        learner = personal(steps=3)
        shared = train(learner, learner.init(), steps=2)
        # Coordinates of this model are independent: each part is as if it had been alone.
        rng = np.random.default_rng(1)
        head = INNER.train(INNER.init(), DATA, Training(steps=3), rng).params
        body = INNER.train(INNER.init(), DATA, Training(steps=2), rng).params
        assert learner.personal.tobytes() == head[13:].tobytes()
        assert shared.tobytes() == body[:13].tobytes()

    def test_fedprox_holds_the_shared_part_where_the_round_began(self) -> None:
        free, held = personal(), personal()
        start = free.init()
        loose = train(free, start, steps=30)
        tight = train(held, start, steps=30, proximal=5.0)
        assert np.abs(tight - start).mean() < 0.5 * np.abs(loose - start).mean()

    def test_each_device_has_its_own_part(self) -> None:
        one = personal()
        other = for_device(one)
        assert isinstance(other, PersonalLearner) and other is not one
        train(one, one.init())
        assert other.personal.tobytes() == INNER.init()[13:].tobytes()
        assert for_device(INNER) is INNER

    @pytest.mark.parametrize(
        "part", [np.zeros(6, np.float32), np.zeros(7), np.full(7, np.nan, np.float32)]
    )
    def test_a_part_that_does_not_fit_is_refused(self, part: Any) -> None:
        learner = personal()
        with pytest.raises(ModelError, match="7 finite float32"):
            learner.personal = part

    def test_a_failed_training_changes_nothing(self) -> None:
        learner = personal()
        with pytest.raises(Exception, match="lower the learning rate"):
            train(learner, learner.init(), learning_rate=1e6, steps=50)
        assert learner.personal.tobytes() == INNER.init()[13:].tobytes()


class TestAgreed:
    def test_head_of_a_shipped_model(self) -> None:
        learner = agreed_learner(load_learner("mlp"), "mlp", ("head",))
        assert learner.contract.parameters == 64 * 65
        with pytest.raises(ConfigError, match="no layer 'hat'; it has hidden1, head"):
            agreed_learner(load_learner("mlp"), "mlp", ("hat",))
        with pytest.raises(ConfigError, match="nothing to share"):
            agreed_learner(load_learner("softmax"), "softmax", ("head",))
        with pytest.raises(ModelError, match="no layers"):
            agreed_learner(INNER, "synthetic", ("head",))

    def test_settings_that_exclude_each_other(self) -> None:
        mlp = load_learner("mlp")
        with pytest.raises(ConfigError, match="set ditto to 0"):
            own_learner(mlp, "mlp", Policy(personal=("head",)), ditto=0.1)
        with pytest.raises(ConfigError, match="personal_steps"):
            own_learner(mlp, "mlp", Policy(), personal_steps=1)
        assert own_learner(mlp, "mlp", Policy()) is mlp

    def test_names(self) -> None:
        assert parse_names("head, body,,head") == ("body", "head")
        assert parse_names("") == ()
        for text in ("x" * 65, "a\nb", ",".join(f"l{n}" for n in range(65))):
            with pytest.raises(ConfigError):
                parse_names(text)


class TestPolicy:
    def test_new_fields_are_version_2(self) -> None:
        assert Policy().pack()[:2] == b"\x97\x01"
        for policy in (
            Policy(nominal_steps=8),
            Policy(personal=("body", "head")),
            Policy(rule="median", nominal_steps=10_000, personal=("head",)),
        ):
            assert policy.pack()[:2] == b"\x99\x02"
            assert Policy.unpack(policy.pack()) == policy

    @pytest.mark.parametrize(
        "raw",
        [
            Policy(personal=("b", "a")).pack(),
            Policy(personal=("a", "a")).pack(),
            Policy(personal=("",)).pack(),
            Policy(personal=tuple(f"{n:02}" for n in range(65))).pack(),
            Policy(nominal_steps=10_001).pack(),
            Policy(nominal_steps=8).pack()[:-2] + b"\x00\x90",
            Policy(nominal_steps=8).pack() + b"\x00",
        ],
    )
    def test_other_bytes_are_refused(self, raw: bytes) -> None:
        with pytest.raises(GenesisError):
            Policy.unpack(raw)


def state(size: int = 7) -> LearningState:
    rng = np.random.default_rng(2)
    row = lambda: rng.normal(size=size).astype(np.float32)  # noqa: E731
    return LearningState(
        personal=row(),
        moments=Moments((row(), row()), (0.5, 0.25)),
        adaptive=AdaptiveState(row(), row()),
    )


class TestStateFile:
    def test_what_was_kept_comes_back(self, tmp_path: Path) -> None:
        kept = state()
        StateFile(tmp_path / FILE_NAME, BINDING, P).keep(kept, 3)
        found = StateFile(tmp_path / FILE_NAME, BINDING, P).load()
        assert found.pack(BINDING, 3) == kept.pack(BINDING, 3)
        assert found.moments is not None and found.moments.decays == (0.5, 0.25)

    def test_no_file_is_nothing_and_nothing_is_no_file(self, tmp_path: Path) -> None:
        file = StateFile(tmp_path / FILE_NAME, BINDING, P)
        assert file.load().is_empty
        file.keep(LearningState(), 1)
        assert not list(tmp_path.iterdir())

    def test_a_large_state_is_written_less_often(self, tmp_path: Path) -> None:
        path = tmp_path / FILE_NAME
        file = StateFile(path, BINDING, 50_000)
        written = []
        for round_ in range(1, 9):
            file.keep(LearningState(personal=np.full(50_000, round_, np.float32)), round_)
            found = file.load().personal
            assert found is not None
            written.append(int(found[0]))
        assert written == [1, 1, 1, 4, 4, 4, 7, 7]

    @given(flip=st.integers(0, 10**6), cut=st.integers(0, 400))
    @settings(max_examples=60)
    def test_any_damage_is_found(self, flip: int, cut: int) -> None:
        raw = bytearray(state().pack(BINDING, 1))
        raw[flip % len(raw)] ^= 1 << flip % 8
        for bad in (bytes(raw), state().pack(BINDING, 1)[: -1 - cut]):
            with pytest.raises(StoreError):
                LearningState.unpack(bad, BINDING)

    def test_the_state_of_another_model_is_refused_in_one_line(self, tmp_path: Path) -> None:
        StateFile(tmp_path / FILE_NAME, BINDING, P).keep(state(), 1)
        with pytest.raises(StoreError, match=r"learning.state: made with another model.*move it"):
            StateFile(tmp_path / FILE_NAME, bytes(32), P).load()

    def test_the_file_belongs_to_model_and_layers(self, tmp_path: Path) -> None:
        mlp = load_learner("mlp")
        policy = Policy(personal=("head",))
        learner = own_learner(mlp, "mlp", policy)
        state_file(tmp_path, learner, policy).keep(state(650), 1)
        assert state_file(tmp_path, learner, policy).load().personal is not None
        other = Policy(personal=("hidden1",))
        with pytest.raises(StoreError, match="other personal layers"):
            state_file(tmp_path, own_learner(mlp, "mlp", other), other).load()


class TestUsefulness:
    def test_helpers_rise_and_wild_measurements_are_bounded(self) -> None:
        table = Usefulness()
        good, bad, new = (PeerId(bytes([n]) * 38) for n in (1, 2, 3))
        for _ in range(10):
            table.observe([(good, 0.1), (bad, float("nan"))])
        assert table.score(good) > table.score(new) == 0.0 > table.score(bad) >= -GAIN_MAX
        table.observe([(new, 1e9)])
        assert table.score(new) <= 0.2 * GAIN_MAX

    def test_the_oldest_are_forgotten(self) -> None:
        table = Usefulness()
        peers = [PeerId(number.to_bytes(38, "big")) for number in range(PEERS_MAX + 5)]
        table.observe((peer, 0.5) for peer in peers)
        assert table.score(peers[0]) == 0.0 and table.score(peers[-1]) > 0.0


@pytest.mark.slow
@pytest.mark.parametrize("steps", [0, 2])
def test_the_head_s_coordinates_never_appear_in_a_frame(
    monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    """Whatever is encoded, sealed or sent is made from vectors that have no place for them."""
    bodies: list[bytes] = []
    for name in ("pack_delta", "pack_keyframe"):
        pack = getattr(publisher, name)
        monkeypatch.setattr(
            publisher, name, lambda it, pack=pack: bodies.append(pack(it)) or bodies[-1]
        )
    scenario = Scenario(
        peers=4, rounds=4, personal="head", personal_steps=steps, codec="float32", view=3
    )
    setup = prepare(scenario)
    finished = run(scenario, setup, lambda *_: None)
    heads = []
    for peer in finished.engine.peers:
        assert isinstance(peer.learning.learner, PersonalLearner)
        head = peer.learning.learner.personal
        assert head.size == 650 and peer.agent is not None
        assert peer.agent.params.size == peer.agent.publisher.replica.vector.size == 4160
        heads.append(head)
    assert len({head.tobytes() for head in heads}) == 4
    whole = b"".join(bodies)
    assert len(bodies) >= 16
    assert 4 * 4160 <= max(map(len, bodies)) < 4 * 4160 + 1000
    # Two neighbours at a time: four bytes of one value are met by chance.
    first = load_learner("mlp").init()[4160:]
    for head in heads:
        for values in (head, head - first):
            moved = np.flatnonzero((values[:-1] != 0) & (values[1:] != 0))
            assert moved.size > 100
            assert not any(values[at : at + 2].tobytes() in whole for at in moved.tolist())


def test_a_swarm_of_personal_learners_has_one_part_each() -> None:
    scenario = Scenario(peers=4, personal="head")
    setup = prepare(scenario)
    swarm = build_swarm(scenario, setup.learner, setup.slices)
    learners = {id(peer.learning.learner) for peer in swarm.peers}
    assert len(learners) == 4
    assert swarm.swarm.contract.parameters == 4160
    assert swarm.swarm.policy.personal == ("head",)


def test_a_restart_goes_on_with_the_own_part(tmp_path: Path) -> None:
    """And with the moments of merges and of the optimiser, where these are asked for."""

    def device() -> LocalLearning:
        file = StateFile(tmp_path / FILE_NAME, BINDING, P)
        learning = LocalLearning(
            learner=personal(),
            training=DATA,
            holdout=DATA,
            settings=Training(optimiser="adam"),
            rng=np.random.default_rng(0),
            options=LocalOptions(moments="keep", combine="adam"),
            keeper=file.keep,
        )
        learning.restore(file.load())
        return learning

    before = device()
    before.memory.proposed = (before.learner.init(), AdaptiveState.at_rest(13))
    before.compute(Train(params=before.learner.init(), round=7, committed=True))
    after = device()
    assert after.state().pack(BINDING, 7) == before.state().pack(BINDING, 7)
    assert isinstance(after.learner, PersonalLearner)
    assert after.learner.personal.tobytes() != INNER.init()[13:].tobytes()
    assert after.memory.adaptive is not None and after.memory.moments is not None


@pytest.mark.slow
def test_an_audit_knows_the_shared_layers_and_says_so(
    gossamer: Callable[..., Any], samples_file: Path, tmp_path: Path
) -> None:
    logs, out = tmp_path / "logs", tmp_path / "without.npz"
    scenario = Scenario(peers=4, rounds=2, personal="head", view=3)
    write_logs(logs, run(scenario, prepare(scenario), lambda *_: None).simulated)
    ran = gossamer("log", "audit", logs / "peer-00")
    assert ran.code == 0 and "reproduced  2 (100 %)" in ran.out
    words = ("log", "replay", logs / "peer-00", "--without", "peer-01", "--out", out)
    ran = gossamer(*words, "--data", samples_file)
    assert (ran.code, out.exists()) == (ExitCode.DATA, False)
    assert "its layers head never left the device" in ran.err
    ran = gossamer(*words)
    assert ran.code == 0 and "without the personal layers, head" in ran.out
    with np.load(out) as arrays:
        assert arrays["params"].size == 4160


@pytest.mark.parametrize("personal", [("head",), ()])
def test_an_own_head_is_not_served_with_a_merge_that_it_has_left(
    new_world: Callable[..., Any], personal: tuple[str, ...]
) -> None:
    """It goes on with the own parameters while merges are refused; without one the merge stays."""
    town = new_world(5, personal=personal).town()
    town.meet()
    town.run_rounds(2)
    shell = town.shells[0]
    merged = shell.core.served.copy()
    shell.scores = Score(0.5, 0.8, 20), Score(90.0, 0.1, 20)
    assert not shell.run_round().committed
    expected = shell.core.params if personal else merged
    assert np.array_equal(shell.core.served, expected)
    assert not np.array_equal(shell.core.params, merged)
