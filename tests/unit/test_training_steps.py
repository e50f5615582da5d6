"""Local optimisers, schedules, FedNova, FedAdam, early stop, Ditto: their formulas and limits."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer_agent.errors import ConfigError
from gossamer_agent.events import Merge, MergeDone, Train, TrainDone
from gossamer_agent.learner import Carried, Samples, Score, Trained, Training, Vector, sgd
from gossamer_agent.learning import LocalLearning
from gossamer_agent.merge.result import MergeInput
from gossamer_agent.synthetic import SyntheticLearner, make_samples
from gossamer_agent.training.combining import Adaptive, AdaptiveState, adaptive_step
from gossamer_agent.training.ditto import DittoLearner
from gossamer_agent.training.local import train_steps
from gossamer_agent.training.nova import SCALE_MAX, effective_steps, normalised
from gossamer_agent.training.options import LocalOptions
from gossamer_agent.training.schedules import LOWEST, rate_factor
from gossamer_agent.training.steppers import (
    ADAM_EPSILON,
    ADAM_FIRST,
    ADAM_SECOND,
    AdamStepper,
    clip_norm,
)
from gossamer_crypto.identity import PeerId

P = 40
LEARNER = SyntheticLearner(P)
DATA = make_samples(P, 64, np.random.default_rng(1))
HOLDOUT = make_samples(P, 32, np.random.default_rng(2))
vectors = st.lists(st.floats(-100, 100, width=32), min_size=8, max_size=8).map(
    lambda values: np.array(values, np.float32)
)


def train(**options: Any) -> Vector:
    rng = np.random.default_rng(3)
    return LEARNER.train(LEARNER.init(), DATA, Training(**options), rng).params


class TestLocalSteps:
    def test_fedprox_with_mu_0_is_plain_sgd_bit_for_bit(self) -> None:
        assert train(proximal=0.0).tobytes() == train().tobytes()
        assert train(proximal=0.1).tobytes() != train().tobytes()

    def test_a_clip_that_is_never_reached_changes_no_bit(self) -> None:
        assert train(gradient_clip=1e6).tobytes() == train().tobytes()
        assert train(gradient_clip=0.1).tobytes() != train().tobytes()

    def test_a_clipped_step_is_as_long_as_the_clip(self) -> None:
        moved = train(steps=1, learning_rate=0.5, gradient_clip=0.2) - LEARNER.init()
        assert np.linalg.norm(moved) == pytest.approx(0.1, rel=1e-4)

    def test_the_pull_of_fedprox_is_outside_the_clip(self) -> None:
        anchor = LEARNER.init() - np.float32(10)
        carried = Carried(anchor=anchor)
        far = train(steps=1, gradient_clip=1e-3, proximal=1.0, carried=carried)
        assert np.linalg.norm(far - LEARNER.init()) > 5

    def test_adam_is_the_paper_s(self) -> None:
        rng = np.random.default_rng(0)
        stepper = AdamStepper(0.01, 6, None)
        m, v = np.zeros(6), np.zeros(6)
        for t in range(1, 20):
            gradient = rng.normal(size=6).astype(np.float32)
            m = ADAM_FIRST * m + (1 - ADAM_FIRST) * gradient
            v = ADAM_SECOND * v + (1 - ADAM_SECOND) * gradient.astype(float) ** 2
            hat = m / (1 - ADAM_FIRST**t), v / (1 - ADAM_SECOND**t)
            expected = 0.01 * hat[0] / (np.sqrt(hat[1]) + ADAM_EPSILON)
            assert np.allclose(stepper.step(gradient.copy()), expected, rtol=1e-4, atol=1e-7)

    @pytest.mark.parametrize("options", [{"momentum": 0.9}, {"optimiser": "adam"}])
    def test_moments_carried_over_make_two_calls_one(self, options: dict[str, Any]) -> None:
        """Full batches: then the order of the samples does not matter."""

        def steps(count: int, start: Vector, carried: Carried | None) -> Trained:
            how = Training(steps=count, batch=64, learning_rate=0.05, carried=carried, **options)
            return LEARNER.train(start, DATA, how, np.random.default_rng(0))

        whole = steps(6, LEARNER.init(), None)
        first = steps(2, LEARNER.init(), None)
        second = steps(4, first.params, Carried(moments=first.moments))
        assert np.allclose(second.params, whole.params, rtol=1e-4, atol=1e-5)
        forgot = steps(4, first.params, None)
        assert not np.allclose(forgot.params, whole.params, rtol=1e-3, atol=1e-3)

    def test_moments_of_another_shape_are_not_used(self) -> None:
        other = LEARNER.train(
            LEARNER.init(), DATA, Training(optimiser="adam"), np.random.default_rng(0)
        ).moments
        assert (
            train(momentum=0.5, carried=Carried(moments=other)).tobytes()
            == train(momentum=0.5).tobytes()
        )

    def test_frozen_parameters_do_not_move(self) -> None:
        moved = train(
            momentum=0.5, weight_decay=0.1, carried=Carried(frozen=(slice(0, 7), slice(30, 40)))
        )
        still = moved == LEARNER.init()
        assert still[:7].all() and still[30:].all() and not still[7:30].any()

    @settings(max_examples=30)
    @given(gradient=vectors, limit=st.floats(1e-3, 1e3))
    def test_no_gradient_is_longer_than_its_clip(self, gradient: Vector, limit: float) -> None:
        before = gradient.copy()
        clip_norm(gradient, limit)
        assert np.linalg.norm(gradient.astype(float)) <= limit * (1 + 1e-4)
        if np.linalg.norm(before.astype(float)) < limit * (1 - 1e-4):
            assert gradient.tobytes() == before.tobytes()

    def test_a_gradient_that_is_not_finite_is_left_to_the_divergence_check(self) -> None:
        gradient = np.array([np.inf, 1], np.float32)
        clip_norm(gradient, 1.0)
        assert gradient[1] == 1

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"optimiser": "lion"}, "optimiser must be sgd or adam"),
            ({"schedule": "steps"}, "schedule must be constant or cosine"),
            ({"anneal_rounds": 0}, "anneal_rounds must be 1"),
            ({"gradient_clip": -1.0}, "gradient_clip must be 0"),
        ],
    )
    def test_settings_out_of_range(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            Training(**options)


class TestSchedule:
    def test_a_constant_rate_is_the_very_settings(self) -> None:
        how = Training()
        assert how.in_round(1) is how and how.in_round(10**9) is how

    def test_a_cosine_falls_and_starts_again(self) -> None:
        rates = [rate_factor("cosine", round_, 10) for round_ in range(1, 12)]
        assert rates[0] == rates[10] == 1.0
        assert rates[9] == pytest.approx(LOWEST)
        assert all(a > b for a, b in pairwise(rates[:10]))
        how = Training(schedule="cosine", anneal_rounds=10, learning_rate=0.5)
        assert how.in_round(5).learning_rate == pytest.approx(0.5 * rates[4])

    @settings(max_examples=30)
    @given(round_=st.integers(-5, 10**9), period=st.integers(1, 10**6))
    def test_every_rate_is_within_bounds(self, round_: int, period: int) -> None:
        assert LOWEST <= rate_factor("cosine", round_, period) <= 1.0 + 1e-12


class TestNova:
    def test_equal_steps_are_fedavg_bit_for_bit(self) -> None:
        before, after = LEARNER.init(), train()
        assert normalised(before, after, 8.0, 8.0) is after
        assert trained(nominal_steps=8).tobytes() == trained().tobytes()
        assert trained(nominal_steps=4).tobytes() != trained().tobytes()

    def test_the_mean_of_normalised_changes_is_the_paper_s(self) -> None:
        start = np.zeros(5, np.float32)
        ends = [np.full(5, 3, np.float32), np.full(5, 8, np.float32)]
        taus, nominal = (3.0, 4.0), 6.0
        published = [normalised(start, end, t, nominal) for end, t in zip(ends, taus, strict=True)]
        d = [(start - end) / t for end, t in zip(ends, taus, strict=True)]
        assert np.allclose(np.mean(published, axis=0), start - nominal * np.mean(d, axis=0))

    def test_effective_steps(self) -> None:
        assert effective_steps(7, 0.0) == 7.0
        for momentum, steps in ((0.5, 4), (0.9, 11)):
            # Each step's gradient moves the parameters by all powers of the momentum still to come.
            total = sum((1 - momentum**k) / (1 - momentum) for k in range(1, steps + 1))
            assert effective_steps(steps, momentum) == pytest.approx(total)

    @settings(max_examples=30)
    @given(before=vectors, after=vectors, tau=st.floats(0.1, 1e4), nominal=st.floats(0.1, 1e4))
    def test_a_change_is_never_enlarged_beyond_the_cap(
        self, before: Vector, after: Vector, tau: float, nominal: float
    ) -> None:
        got = normalised(before, after, tau, nominal).astype(float) - before
        assert np.abs(got).max() <= SCALE_MAX * np.abs(after - before).max() + 1e-3

    def test_what_would_leave_the_bound_is_published_as_it_is(self) -> None:
        bound = LEARNER.contract.bound
        start = np.full(P, bound - 1, np.float32)
        plain = trained(start=start, learning_rate=1e-6)
        assert trained(start=start, learning_rate=1e-6, nominal_steps=10_000).max() <= bound
        assert plain.max() <= bound


class TestFedAdam:
    def test_without_memory_it_is_a_sign_step_up_to_t(self) -> None:
        rng = np.random.default_rng(0)
        base, merged = (rng.normal(size=9).astype(np.float32) for _ in range(2))
        how = Adaptive(kind="adam", rate=0.25, t=1e-7, first=0.0, second=0.0)
        after, _ = adaptive_step(base, merged, AdaptiveState.at_rest(9), how)
        assert np.allclose(after, base - 0.25 * np.sign(base - merged), atol=1e-5)

    def test_yogi_is_the_paper_s(self) -> None:
        base, merged = np.array([2, 2], np.float32), np.array([1, 3], np.float32)
        state = AdaptiveState(np.array([0.5, 0], np.float32), np.array([4, 0.25], np.float32))
        how = Adaptive(kind="yogi", rate=0.1, t=0.5)
        after, then = adaptive_step(base, merged, state, how)
        assert np.allclose(then.u, [0.55, -0.1])
        assert np.allclose(then.v, [4 - 0.01, 0.25 + 0.01])
        assert np.allclose(after, base - 0.1 * then.u / (np.sqrt(then.v) + 0.5))

    @given(base=vectors, merged=vectors, kind=st.sampled_from(["adam", "yogi"]))
    @settings(max_examples=25)
    def test_a_value_moves_by_about_the_rate_at_most(
        self, base: Vector, merged: Vector, kind: str
    ) -> None:
        how = Adaptive(kind=kind, rate=0.03, t=1e-3)
        state = AdaptiveState.at_rest(8)
        kept = base.copy(), merged.copy()
        after, state = adaptive_step(base, merged, state, how)
        assert np.isfinite(after).all() and (state.v >= 0).all()
        assert np.abs(after - base).max() <= 0.03 * 1.01 + 1e-4
        assert base.tobytes() == kept[0].tobytes() and merged.tobytes() == kept[1].tobytes()

    def test_only_a_committed_merge_moves_its_state(self) -> None:
        learning = learning_with(combine="adam")
        done = learning.compute(merge_of([0.0, 1.0, 2.0]))
        assert isinstance(done, MergeDone) and done.candidate is not None
        assert not np.array_equal(done.candidate, done.merged.vector)
        learning.compute(Train(params=LEARNER.init(), committed=False))
        assert learning.memory.adaptive is None
        learning.compute(merge_of([0.0, 1.0, 2.0]))
        learning.compute(Train(params=LEARNER.init(), committed=True))
        assert learning.memory.base is not None and learning.memory.adaptive is not None

    def test_no_pseudo_gradients_move_a_value_by_more_than_the_docstring_says(self) -> None:
        """The worst that there are: each larger than the one before by b2 / b1."""
        how, state = Adaptive(kind="adam", rate=1.0, t=1e-9), AdaptiveState.at_rest(1)
        base, longest = np.zeros(1, np.float32), 0.0
        for round_ in range(60):
            pull = np.array([1e-3 * (0.99 / 0.9) ** round_], np.float32)
            after, state = adaptive_step(base, base - pull, state, how)
            longest = max(longest, float(np.abs(after).max()))
        assert 2.3 < longest < 2.4

    def test_what_the_settings_ask_for_no_more_is_neither_used_nor_kept(self) -> None:
        before = learning_with(combine="adam", moments="keep")
        before.compute(merge_of([0.0, 1.0, 2.0]))
        before.compute(Train(params=LEARNER.init(), committed=True))
        kept = before.state()
        assert kept.adaptive is not None and not kept.is_empty
        after = learning_with()
        after.restore(kept)
        assert after.memory.adaptive is None and after.memory.moments is None
        assert after.state().is_empty

    def test_by_default_the_candidate_is_the_merge(self) -> None:
        done = learning_with().compute(merge_of([0.0, 1.0, 2.0]))
        assert isinstance(done, MergeDone) and done.candidate is None and done.gains == ()


class TestEarlyStop:
    def test_never_asked_it_is_one_call(self) -> None:
        assert trained(early_stop=0).tobytes() == trained().tobytes()

    def test_steps_that_raise_the_loss_are_undone(self) -> None:
        start = np.random.default_rng(5).normal(size=P).astype(np.float32)

        class Worse(SyntheticLearner):
            """Each call of training makes it worse, from the second on."""

            calls = 0

            def train(self, params: Vector, *_: Any) -> Trained:
                self.calls += 1
                return Trained(params + 1, 0.5)

            def evaluate(self, params: Vector, data: Samples) -> Score:
                moved = float((params - start).mean())
                return Score(1.0 - moved if moved < 1.5 else moved, 0.5, len(data))

        learner = Worse(P)
        how = Training(steps=8)
        rng = np.random.default_rng(0)
        stepped = train_steps(learner, start, DATA, HOLDOUT, how, checks=4, rng=rng)
        assert (stepped.steps, learner.calls) == (2, 2)
        assert np.allclose(stepped.trained.params, start + 1)

    @given(steps=st.integers(1, 30), checks=st.integers(1, 40))
    @settings(max_examples=20)
    def test_it_makes_at_most_its_steps(self, steps: int, checks: int) -> None:
        rng = np.random.default_rng(0)
        how = Training(steps=steps, batch=4, learning_rate=0.01)
        stepped = train_steps(LEARNER, LEARNER.init(), DATA, HOLDOUT, how, checks=checks, rng=rng)
        assert 0 <= stepped.steps <= steps


class TestDitto:
    def test_the_shared_parameters_are_trained_as_without(self) -> None:
        ditto = DittoLearner(LEARNER, 0.1)
        rng = np.random.default_rng(3)
        got = ditto.train(LEARNER.init(), DATA, Training(), rng).params
        assert got.tobytes() == train().tobytes()

    def test_a_large_lambda_holds_the_personal_model_near(self) -> None:
        shared = LEARNER.init() + np.float32(3)
        gaps = []
        for pull in (0.0, 5.0):
            ditto = DittoLearner(LEARNER, pull)
            for _ in range(5):
                ditto.train(shared, DATA, Training(learning_rate=0.05), np.random.default_rng(0))
            assert ditto.personal is not None
            gaps.append(float(np.abs(ditto.personal - shared).mean()))
        assert gaps[1] < 0.5 * gaps[0]

    def test_steps_in_pieces_are_held_near_where_the_round_began(self) -> None:
        ditto, far = DittoLearner(LEARNER, pull=9.0), np.full(P, 0.5, np.float32)
        pieces = Training(steps=50, learning_rate=0.1, carried=Carried(anchor=far))
        ditto.train(LEARNER.init(), DATA, pieces, np.random.default_rng(0))
        assert ditto.personal is not None
        near = np.linalg.norm(ditto.personal - far), np.linalg.norm(ditto.personal - LEARNER.init())
        assert near[0] < near[1]

    def test_it_answers_with_its_own_and_is_judged_by_the_shared(self) -> None:
        ditto = DittoLearner(LEARNER, 0.1)
        shared = LEARNER.init()
        before = ditto.infer(shared, HOLDOUT.x)
        assert before.tobytes() == LEARNER.infer(shared, HOLDOUT.x).tobytes()
        ditto.train(shared, DATA, Training(), np.random.default_rng(0))
        assert ditto.infer(shared, HOLDOUT.x).tobytes() != before.tobytes()
        assert ditto.evaluate(shared, HOLDOUT) == LEARNER.evaluate(shared, HOLDOUT)


def learning_with(learning_rate: float = 0.1, **options: Any) -> LocalLearning:
    return LocalLearning(
        learner=LEARNER,
        training=DATA,
        holdout=HOLDOUT,
        settings=Training(learning_rate=learning_rate),
        rng=np.random.default_rng(3),
        options=LocalOptions(**options),
    )


def trained(start: Vector | None = None, **options: Any) -> Vector:
    params = LEARNER.init() if start is None else start
    done = learning_with(**options).compute(Train(params=params))
    assert isinstance(done, TrainDone)
    return done.params


def merge_of(values: list[float]) -> Merge:
    peers = [PeerId(bytes([number]) * 38) for number in range(len(values))]
    rows = [np.full(P, value, np.float32) for value in values]
    inputs = tuple(MergeInput(peer, row) for peer, row in zip(peers, rows, strict=True))
    return Merge(rule="median", inputs=inputs, own=peers[0], round=1, initial=LEARNER.init())


def test_sgd_is_what_it_was() -> None:
    """The loop as it was before there were options."""
    params, rng = LEARNER.init(), np.random.default_rng(7)

    def gradient(weights: Vector, x: Vector, _: Any) -> tuple[float, Vector]:
        return 0.0, (weights - x.mean(axis=0)).astype(np.float32)

    how = Training(momentum=0.5, proximal=0.1, weight_decay=0.01)
    got = sgd(gradient, params, DATA, how, np.random.default_rng(7), bound=1e4).params
    weights, velocity = params.copy(), np.zeros_like(params)
    order = rng.permutation(64)
    order = np.concatenate([order, rng.permutation(64)])[:128].reshape(8, 16)
    for rows in order:
        step = gradient(weights, DATA.x[rows], None)[1]
        step += np.float32(0.01) * weights
        step += np.float32(0.1) * (weights - params)
        velocity = velocity * np.float32(0.5) + step
        weights -= velocity * np.float32(0.1)
    assert got.tobytes() == weights.tobytes()
