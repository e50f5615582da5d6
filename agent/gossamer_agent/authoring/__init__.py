"""Author trainable nets as .tflite files without TensorFlow.

A device needs none of this: it runs where models are made, with the extra `authoring`.

    graph   a file and its graphs, operator by operator
    layers  what each layer computes, forward and back
    net     layers to a net, a net to the signatures of the model contract
    kinds   the nets that `gossamer model author` knows
    bake    weights into an inference-only file
    keras   a Keras model into a net (needs the extra `keras` too)
"""

from __future__ import annotations

from collections.abc import Sequence

from gossamer_agent.authoring.kinds import dense, sizes
from gossamer_agent.authoring.layers import Floats
from gossamer_agent.authoring.net import Net

__all__ = ["Net", "dense_net", "initial", "parameter_count"]


def dense_net(layers: Sequence[int], seed: int = 0) -> bytes:
    """A .tflite file of a dense net with ReLU between layers and softmax cross-entropy on top.

    layers: sizes from input to classes, such as (64, 64, 10). Signatures: init, infer, grad and
    grad_clipped. Its bytes are pinned in many places, so it has no layer table. Raises ModelError
    when the extra `authoring` is not installed.
    """
    net = dense(layers)
    return net.file(net.initial(seed), described=False)


def parameter_count(layers: Sequence[int]) -> int:
    """Kernels and biases of a dense net."""
    return sizes(layers)


def initial(layers: Sequence[int], seed: int) -> Floats:
    """The first parameters of a dense net, float32 [P]; see `Net.initial`."""
    return dense(layers).initial(seed)
