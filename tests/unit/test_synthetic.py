from __future__ import annotations

import hashlib

import numpy as np
import pytest

from gossamer_agent.errors import DataError, ModelError
from gossamer_agent.learner import Samples, Training
from gossamer_agent.synthetic import SyntheticLearner, _gradient, make_samples, target

P = 64


def flipped(data: Samples) -> Samples:
    return Samples(data.x, 1 - data.y)


def test_same_bits_on_every_machine() -> None:
    """The one test that must give the same digest on every processor, Python and numpy."""
    learner, rng = SyntheticLearner(P), np.random.default_rng(11)
    data, params = make_samples(P, 37, rng), SyntheticLearner(P).init()
    losses = []
    for settings in (Training(), Training(momentum=0.9, weight_decay=0.01, proximal=0.1)):
        trained = learner.train(params, data, settings, rng)
        params = trained.params
        losses.append(trained.loss)
    score = learner.evaluate(params, data)
    scalars = np.array([*losses, score.loss, score.accuracy], "<f8")
    bits = data.x.astype("<f4").tobytes() + params.astype("<f4").tobytes() + scalars.tobytes()
    logits = learner.infer(params, data.x).astype("<f4").tobytes()
    assert hashlib.sha256(bits + logits).hexdigest() == DIGEST


DIGEST = "6b5014c25ea483c468c00b3a1de89302c81a77df994343901846a25ac2cf15fc"


def test_gradient_is_that_of_the_loss() -> None:
    rng = np.random.default_rng(0)
    data, weights = make_samples(P, 9, rng), SyntheticLearner(P).init()
    loss, gradient = _gradient(weights, data.x, data.y)
    sightings = data.x.astype(float) * (2 * data.y - 1)[:, None]
    assert loss == pytest.approx(((weights - sightings) ** 2).mean() / 2, rel=1e-6)
    assert np.allclose(gradient, weights - sightings.mean(0), atol=1e-5)


def test_learning_together_beats_learning_alone() -> None:
    learner, rng = SyntheticLearner(), np.random.default_rng(5)
    test = make_samples(512, 200, rng)
    settings = Training(steps=100)

    def accuracy(samples: int) -> float:
        data = make_samples(512, samples, rng)
        return learner.evaluate(
            learner.train(learner.init(), data, settings, rng).params, test
        ).accuracy

    alone, together = accuracy(40), accuracy(2000)
    assert learner.evaluate(learner.init(), test).accuracy < 0.6 < alone < together - 0.02
    assert together > 0.93


def test_flipped_labels_lead_away_from_the_target() -> None:
    learner, rng = SyntheticLearner(P), np.random.default_rng(5)
    data = make_samples(P, 500, rng)
    settings = Training(steps=100)
    honest = learner.train(learner.init(), data, settings, rng).params
    liar = learner.train(learner.init(), flipped(data), settings, rng).params
    assert learner.evaluate(honest, data).accuracy > 0.9
    assert learner.evaluate(liar, data).accuracy < 0.1
    assert np.dot(liar, target(P)) < 0


def test_infer_classifies() -> None:
    learner, rng = SyntheticLearner(), np.random.default_rng(5)
    data = make_samples(512, 50, rng)
    logits = learner.infer(target(512), data.x)
    assert logits.shape == (50, 2)
    assert logits.dtype == np.float32
    assert np.array_equal(logits.argmax(1), data.y)


def test_one_sample_and_one_parameter_are_enough() -> None:
    learner, rng = SyntheticLearner(1), np.random.default_rng(5)
    data = make_samples(1, 1, rng)
    kept = data.x.copy()
    params = learner.train(learner.init(), data, Training(), rng).params
    assert params.shape == (1,)
    assert learner.evaluate(params, data).samples == 1
    assert np.array_equal(data.x, kept)


def test_identity_depends_on_the_size() -> None:
    small, large = SyntheticLearner(8), SyntheticLearner(9)
    assert len(small.model_sha256) == 32
    assert small.model_sha256 == SyntheticLearner(8).model_sha256 != large.model_sha256
    assert small.contract.digest() != large.contract.digest()


def test_bad_input_is_refused() -> None:
    learner, rng = SyntheticLearner(P), np.random.default_rng(5)
    data, params = make_samples(P, 4, rng), learner.init()
    with pytest.raises(ModelError, match="parameters must be"):
        learner.evaluate(params[:-1], data)
    with pytest.raises(DataError, match="shape"):
        learner.train(params, make_samples(P + 1, 4, rng), Training(), rng)
    with pytest.raises(DataError, match="no samples"):
        learner.infer(params, data.x[:0])
    with pytest.raises(DataError, match=r"label 2 is out of range 0\.\.1"):
        learner.evaluate(params, Samples(data.x, np.full(4, 2)))
    with pytest.raises(DataError, match="no samples"):
        make_samples(P, 0, rng)
    with pytest.raises(ModelError, match="parameters"):
        SyntheticLearner(0)
