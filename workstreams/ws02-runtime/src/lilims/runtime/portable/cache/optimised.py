"""The graph that ONNX Runtime makes of one, written in its place: making it takes half of the time to open it.

Knows ONNX files and ONNX Runtime. Must not know what a graph computes. What is made depends on ONNX Runtime and the
processor, and so does an entry's key.

Weights that are only multiplied with or looked up in are inputs of the graph while it is optimised: nothing is decided
by their values, and what ONNX Runtime knows as constants it would write out. They come back as they were.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx import helper

from ..compiler import graph_nodes
from ..session import Native, open_session, session_options

__all__ = ["optimise"]

_WEIGHED = ("MatMul", "MatMulNBits", "Gather", "GatherBlockQuantized", "QuantizedLinear", "QuantizedGather")
_MOST = 64 << 20  # bytes of other weights, which are within the model then
_LOG = logging.getLogger(__name__)
_EXTERNAL = onnx.TensorProto.EXTERNAL


def optimise(model: Path, native: Native | None) -> bool:
    """Replaces a model by what ONNX Runtime makes of it; its weights stay where they are.

    Args:
        model: an ONNX model with its weights beside it, or in the package.
        native: what ops of lilims-kernels need, where the model has some.

    Returns:
        False, and the model is as it was, where too many weights may decide what is made, or ONNX Runtime refuses.

    Raises:
        OSError: a file cannot be written.
    """
    given = onnx.load_model(str(model), load_external_data=False)
    kept = {tensor.name: tensor for tensor in _weights(given.graph)}
    others = [t for t in given.graph.initializer if t.data_location == _EXTERNAL and t.name not in kept]
    if sum(_size(tensor) for tensor in others) > _MOST:
        return False
    for tensor in others:
        _embed(tensor, model.parent)
    within = [tensor for tensor in given.graph.initializer if tensor.name not in kept]
    del given.graph.initializer[:]
    given.graph.initializer.extend(within)
    given.graph.input.extend(helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in kept.values())
    small, made = model.with_suffix(".given"), model.with_suffix(".made")
    try:
        small.write_bytes(given.SerializeToString())
        options = session_options(1)
        options.optimized_model_filepath = str(made)
        open_session(small, options, native)
        found = onnx.load_model(str(made))
    except Exception as exc:  # ONNX Runtime's exceptions share no base class
        if isinstance(exc, OSError):
            raise
        _LOG.info("%s is kept as it is: %s", model.name, exc)
        return False
    finally:
        for path in (small, made):
            path.unlink(missing_ok=True)
    inputs = [value for value in found.graph.input if value.name not in kept]
    del found.graph.input[:]
    found.graph.input.extend(inputs)
    found.graph.initializer.extend(kept.values())
    model.write_bytes(found.SerializeToString())
    return True


def _weights(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """External tensors that nothing but products and look-ups takes."""
    elsewhere = {value.name for value in graph.output}
    for node in graph_nodes(graph.node):
        if node.op_type not in _WEIGHED:
            elsewhere.update(node.input)
    for tensor in graph.initializer:
        if tensor.data_location == _EXTERNAL and tensor.name not in elsewhere:
            yield tensor


def _size(tensor: onnx.TensorProto) -> int:
    return int(next(entry.value for entry in tensor.external_data if entry.key == "length"))


def _embed(tensor: onnx.TensorProto, folder: Path) -> None:
    """Puts a tensor's bytes, which lie in a file beside the model, into it."""
    places = {entry.key: entry.value for entry in tensor.external_data}
    with (folder / places["location"]).open("rb") as file:
        file.seek(int(places["offset"]))
        tensor.raw_data = file.read(int(places["length"]))
    del tensor.external_data[:]
    tensor.data_location = onnx.TensorProto.DEFAULT
