"""Keras models into trainable files; runs where the extras authoring and keras are installed.

TensorFlow is too large for every test environment. The other one needs only this:

    python -m pytest tests/unit/test_convert_keras.py
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(
        not all(map(importlib.util.find_spec, ("keras", "tensorflow", "ai_edge_litert"))),
        reason="needs the extras authoring and keras",
    ),
]


def lenet(pool: str, *, frozen: bool = False) -> Any:
    import keras
    from keras import layers

    body = [
        layers.Conv2D(4, 5, activation="relu", trainable=not frozen),
        getattr(layers, pool)(2),
        layers.Conv2D(6, 3, activation="relu", trainable=not frozen),
        getattr(layers, pool)(2),
    ]
    head = [layers.Flatten(), layers.Dense(12, "relu"), layers.Dropout(0.3)]
    return keras.Sequential(
        [keras.Input((20, 20, 1)), *body, *head, layers.Dense(5, activation="softmax")]
    )


def mobile() -> Any:
    import keras
    from keras import layers

    x = image = keras.Input((16, 16, 3))
    x = layers.Rescaling(0.5, -0.5)(x)
    x = layers.ZeroPadding2D(((0, 1), (0, 1)))(x)
    x = layers.Conv2D(4, 3, 2, "valid", use_bias=False)(x)
    for filters, stride in ((8, 1), (12, 2), (12, 1)):
        before = x
        x = layers.DepthwiseConv2D(3, stride, "same", use_bias=False)(x)
        x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
        x = layers.BatchNormalization()(layers.Conv2D(filters, 1, use_bias=False)(x))
        if before.shape == x.shape:
            x = layers.Add()([x, before])
        x = layers.ReLU(6.0)(x)
    x = layers.GlobalAveragePooling2D(keepdims=True)(x)
    x = layers.Reshape((5,))(layers.Conv2D(5, 1)(x))
    return keras.Model(image, layers.Activation("softmax")(x))


def mlp() -> Any:
    import keras
    from keras import layers

    norm = layers.Normalization(mean=[0.5] * 8, variance=[0.1] * 8)
    hidden = [
        layers.Dense(9),
        layers.LeakyReLU(0.1),
        layers.Dense(7, "silu"),
        layers.Dense(6, "elu"),
    ]
    return keras.Sequential([keras.Input((8,)), norm, *hidden, layers.Dense(3)])


def waves() -> Any:
    import keras
    from keras import layers

    x = window = keras.Input((13, 5))
    x = layers.Conv1D(6, 3, 2, "same", activation="tanh")(x)
    x = layers.Conv1D(4, 2)(layers.MaxPooling1D(2)(x))
    return keras.Model(window, layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))


def shaken(model: Any) -> Any:
    """Biases and statistics that are not the defaults, which would hide a wrong order."""
    rng = np.random.default_rng(0)
    for variable in model.weights:
        if "variance" in variable.path or "gamma" in variable.path:
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
        elif any(word in variable.path for word in ("mean", "beta", "bias")):
            variable.assign(rng.normal(size=variable.shape) * 0.2)
    return model


def eager(model: Any, x: Any, y: Any, *, is_softmax: bool) -> tuple[float, Any]:
    """Loss and gradient by TensorFlow, the gradient in our order."""
    import keras
    import tensorflow as tf

    variables = model.trainable_variables
    with tf.GradientTape() as tape:
        entropy = keras.losses.sparse_categorical_crossentropy
        loss = tf.reduce_mean(entropy(y, model(x, training=False), from_logits=not is_softmax))
    found = tape.gradient(loss, [variable.value for variable in variables])
    parts = []
    for variable, gradient in zip(variables, found, strict=True):
        last = gradient.ndim - 1
        is_plain = gradient.ndim == 1 or "depthwise" in variable.path
        order = range(gradient.ndim) if is_plain else (last, *range(last))
        parts.append(np.transpose(gradient, order).ravel())
    return float(loss), np.concatenate(parts)


alone = pytest.mark.skipif(
    importlib.util.find_spec("tflite_runtime") is not None,
    reason="tflite-runtime cannot be loaded into a process beside TensorFlow",
)


def test_the_command_writes_a_file_that_can_be_trained(
    tmp_path: Path, gossamer: Callable[..., Any]
) -> None:
    """With whichever runtime is installed: TensorFlow is in this process, the runtime is not."""
    shaken(mobile()).save(tmp_path / "m.keras")
    made = tmp_path / "m.tflite"
    ran = gossamer("model", "convert", tmp_path / "m.keras", "--out", made)
    assert ran.code == 0, ran.err
    assert "answers as Keras does" in ran.out
    assert "warning" not in ran.err
    mobile().save(tmp_path / "new.keras")
    new = gossamer("model", "convert", tmp_path / "new.keras", "--out", tmp_path / "new.tflite")
    assert new.code == 0
    assert "warning: batch normalisation" in new.err
    checked = gossamer("model", "check", made)
    assert checked.out.splitlines()[-1] == "usable"


@alone
@pytest.mark.parametrize("name", ["mlp", "lenet", "lenet_max", "lenet_frozen", "mobile", "waves"])
def test_gradients_are_those_of_tensorflow_and_the_file_trains(name: str, tmp_path: Path) -> None:
    from gossamer_agent.authoring.from_keras import convert
    from gossamer_agent.learner import Samples, Training
    from gossamer_agent.tflite import TfliteLearner

    made = {
        "mlp": mlp,
        "lenet": lambda: lenet("AveragePooling2D"),
        "lenet_max": lambda: lenet("MaxPooling2D"),
        "lenet_frozen": lambda: lenet("AveragePooling2D", frozen=True),
        "mobile": mobile,
        "waves": waves,
    }[name]
    model = shaken(made())
    model.save(tmp_path / "m.keras")
    converted = convert(tmp_path / "m.keras")
    learner = TfliteLearner(converted.net.file(converted.first))
    params = learner.init()
    assert converted.check(learner.infer(params, converted.samples)) < 1e-5
    x = np.random.default_rng(1).random((6, *converted.net.input_shape)).astype(np.float32)
    y = (np.arange(6) % 3).astype(np.int32)
    loss, gradient = learner.grad(params, x, y)
    right, wanted = eager(model, x, y, is_softmax=converted.head == "softmax")
    assert loss == pytest.approx(right, rel=1e-5)
    assert np.abs(gradient - wanted).max() <= 1e-5
    settings = Training(steps=40, batch=6, learning_rate=0.1)
    trained = learner.train(params, Samples(x, y), settings, np.random.default_rng(0))
    assert learner.evaluate(trained.params, Samples(x, y)).loss < loss


@alone
def test_one_sigmoid_becomes_two_classes_and_one_number_a_regression(tmp_path: Path) -> None:
    import keras
    from keras import layers

    from gossamer_agent.authoring.from_keras import convert
    from gossamer_agent.tflite import TfliteLearner

    for last, task in (("sigmoid", "classification"), (None, "regression")):
        path = tmp_path / f"{task}.keras"
        stack = [keras.Input((4,)), layers.Dense(3, "relu"), layers.Dense(1, last)]
        shaken(keras.Sequential(stack)).save(path)
        converted = convert(path)
        learner = TfliteLearner(converted.net.file(converted.first))
        assert learner.contract.task == task
        converted.check(learner.infer(learner.init(), converted.samples))


def test_all_that_cannot_be_converted_is_named_in_one_line(tmp_path: Path) -> None:
    import keras
    from keras import layers

    from gossamer_agent.authoring.from_keras import convert
    from gossamer_agent.errors import ModelError

    norm = layers.LayerNormalization(name="norm")
    stack = [keras.Input((4,)), layers.Dense(3, "gelu", name="first"), norm, layers.Dense(2)]
    keras.Sequential(stack).save(tmp_path / "m.keras")
    with pytest.raises(ModelError) as caught:
        convert(tmp_path / "m.keras")
    said = str(caught.value)
    assert "layer 'first' (Dense) has activation 'gelu'" in said
    assert "layer 'norm' (LayerNormalization) is not supported" in said
    assert "\n" not in said
    (tmp_path / "bad.keras").write_bytes(b"PK\x03\x04")
    with pytest.raises(ModelError, match="Keras cannot read it"):
        convert(tmp_path / "bad.keras")
    keras.Sequential([keras.Input((None, 4)), layers.Dense(2)]).save(tmp_path / "free.keras")
    with pytest.raises(ModelError, match=r"free\.keras: the input must have fixed dimensions"):
        convert(tmp_path / "free.keras")
