"""How weights lie in an exported file: those that are fp16 numbers take two bytes each.

Knows arrays and the one node that makes them float32 again; ONNX Runtime runs it once, when it opens the file. Must not
know where weights come from.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from ..lowering.scope import Deferred
from ..program import Array

__all__ = ["in_half"]

_SUFFIX = ".fp16"
_MOST = 1 << 30  # bytes as float32: ONNX Runtime folds no constant that has more, and would cast it at each call


def in_half(model: onnx.ModelProto, weights: Mapping[str, Deferred]) -> dict[str, Deferred]:
    """The weights, with fp16 in the place of float32 wherever that loses nothing; the model casts those back.

    Every float32 weight is loaded once, one at a time.

    Raises:
        PackageError: a weight contradicts itself.
    """
    kept: dict[str, Deferred] = {}
    casts = []
    known = {value.name for value in model.graph.initializer} | set(weights)
    for name, weight in weights.items():
        short = f"{name}{_SUFFIX}"
        small = weight.dtype == np.float32 and weight.nbytes <= _MOST
        if not small or short in known or not _is_half(weight.load()):
            kept[name] = weight
            continue
        load = functools.partial(_half, weight.load)
        kept[short] = Deferred(np.dtype(np.float16), weight.shape, load)
        casts.append(helper.make_node("Cast", [short], [name], to=onnx.TensorProto.FLOAT))
        tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
        tensor.name, tensor.data_type = short, onnx.TensorProto.FLOAT16
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return kept


def _is_half(array: Array) -> bool:
    with np.errstate(over="ignore"):
        return bool(np.array_equal(array, array.astype(np.float16).astype(np.float32)))


def _half(load: Callable[[], Array]) -> NDArray[np.float16]:
    return load().astype(np.float16)
