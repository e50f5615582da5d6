"""Freeze weights into a model: an ordinary inference-only .tflite for other programs.

Theory of operation. Of the file's graphs only `infer` stays; its input `weights` becomes a
constant, and buffers that nothing refers to any more are dropped. The flatbuffers library checks
no offset against the file's end, but it is Python: a damaged file makes it raise, and that is one
ModelError here. Whether the result computes what `infer` does is for the caller to compare.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from gossamer_agent.authoring.graph import schema_module
from gossamer_agent.authoring.layers import Floats
from gossamer_agent.errors import ModelError


def bake(model: bytes, weights: Floats) -> bytes:
    """The file with signature infer(x) -> logits and `weights` float32 [P] inside.

    Raises ModelError if the file cannot be read or the weights do not fit it.
    """
    schema = schema_module()
    try:
        tree = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
        baked = _baked(tree, schema, weights)
        builder = importlib.import_module("flatbuffers").Builder(len(model))
        builder.Finish(baked.Pack(builder), b"TFL3")
        return bytes(builder.Output())
    except ModelError:
        raise
    except MemoryError:
        raise ModelError("the model file asks for more memory than there is") from None
    except Exception as error:
        # Whatever a wrong offset leads the library to; each means the same here.
        raise ModelError(f"the model file is damaged ({type(error).__name__})") from None


def _baked(tree: Any, schema: Any, weights: Floats) -> Any:
    signature = next((s for s in tree.signatureDefs if s.signatureKey == b"infer"), None)
    if signature is None:
        raise ModelError("the model has no signature infer")
    graph = tree.subgraphs[signature.subgraphIndex]
    index = next((i.tensorIndex for i in signature.inputs if i.name == b"weights"), None)
    if index is None:
        raise ModelError("infer takes no weights: is the file baked already?")
    shape = tuple(int(d) for d in graph.tensors[index].shape)
    if shape != weights.shape or weights.dtype != np.float32:
        raise ModelError(f"the model takes {shape} weights, not {weights.shape}")
    constant = schema.BufferT()
    constant.data = np.frombuffer(weights.astype("<f4").tobytes(), np.uint8)
    tree.buffers.append(constant)
    graph.tensors[index].buffer = len(tree.buffers) - 1
    graph.inputs = [one for one in graph.inputs if one != index]
    signature.inputs = [one for one in signature.inputs if one.tensorIndex != index]
    signature.subgraphIndex = 0
    tree.subgraphs, tree.signatureDefs = [graph], [signature]
    tree.description = b"baked by gossamer"
    tree.metadata = tree.metadataBuffer = None
    _drop_unused(tree, graph)
    return tree


def _drop_unused(tree: Any, graph: Any) -> None:
    used = sorted({tensor.buffer for tensor in graph.tensors} | {0})
    renumbered = {old: new for new, old in enumerate(used)}
    tree.buffers = [tree.buffers[old] for old in used]
    for tensor in graph.tensors:
        tensor.buffer = renumbered[tensor.buffer]
    codes = sorted({operator.opcodeIndex for operator in graph.operators})
    again = {old: new for new, old in enumerate(codes)}
    tree.operatorCodes = [tree.operatorCodes[old] for old in codes]
    for operator in graph.operators:
        operator.opcodeIndex = again[operator.opcodeIndex]
