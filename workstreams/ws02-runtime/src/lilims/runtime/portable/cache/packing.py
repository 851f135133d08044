"""Weights in a file that ONNX Runtime maps, each beside the form that its kernel packs it into.

Without this a session keeps every packed weight in memory of its own, and a second process does so again. ONNX Runtime
writes packed weights beside an optimised model (`session.save_external_prepacked_constant_initializers`) and finds them
by the op's type and a hash of their bytes, which it computes anew at each load: what does not fit is packed as if it
were not there. So a file from another processor costs memory, and never a wrong result.

    weights file: for each weight its bytes; then, for each that was packed, the packed bytes; all at multiples of 64
    model file:   external_data of a weight: location, offset, length,
                  and prepacked_<i> = "<op type>+<hash>|<offset>;<length>;<flags>"

ONNX Runtime's own writer would hold all packed weights in memory at once. Here small models of some nodes each are
saved by it, and what they hold is moved into the one file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import onnx
from onnx import helper

from ..plan import Graph
from ..program import Array
from ..session import onnxruntime_module, session_options

__all__ = ["write_graph"]

_PACKED_OPS = ("MatMulNBits", "MatMul")  # their second input is packed where it is a weight
_BATCH = 64 << 20  # bytes of weights that are packed at a time
_ALIGNMENT = 64

Place = tuple[int, int]  # offset and length in the weights file


def write_graph(graph: Graph, model: Path, weights: Path) -> None:
    """Writes a graph as an ONNX model with its weights, mapped and packed, beside it.

    Raises:
        OSError: a file cannot be written.
        PackageError: a weight contradicts itself.
    """
    places: dict[str, Place] = {}
    packed: dict[str, list[tuple[str, Place, str]]] = {}
    with weights.open("wb") as file:
        for name, weight in graph.weights.items():
            places[name] = _append(file, np.ascontiguousarray(weight.load()))
        for nodes in _batches(graph, places):
            file.flush()
            for name, key, content, rest in _packed(graph, nodes, places, weights):
                packed.setdefault(name, []).append((key, _append(file, content), rest))
    written = onnx.ModelProto()
    written.CopyFrom(graph.model)
    for tensor in written.graph.initializer:
        if tensor.name in places:
            _refer(tensor, weights.name, places[tensor.name])
            for i, (key, (offset, length), rest) in enumerate(packed.get(tensor.name, ())):
                tensor.external_data.add(key=f"prepacked_{i}", value=f"{key}|{offset};{length};{rest}")
    model.write_bytes(written.SerializeToString())


def _append(file: BinaryIO, content: Array) -> Place:
    file.write(bytes(-file.tell() % _ALIGNMENT))
    offset = file.tell()
    file.write(content.data if content.size else b"")
    return offset, content.nbytes


def _batches(graph: Graph, places: dict[str, Place]) -> Iterator[list[onnx.NodeProto]]:
    """Nodes whose weight a kernel packs, as many at a time as are worth a session."""
    batch: list[onnx.NodeProto] = []
    size = 0
    for node in graph.model.graph.node:
        if node.op_type in _PACKED_OPS and node.input[1] in places:
            batch.append(node)
            size += places[node.input[1]][1]
            if size >= _BATCH:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


def _packed(
    graph: Graph, nodes: list[onnx.NodeProto], places: dict[str, Place], weights: Path
) -> Iterator[tuple[str, str, Array, str]]:
    """Weight, key, packed bytes and the key's flags, of what ONNX Runtime packs of these nodes' weights."""
    small = weights.with_name(f"{weights.name}.nodes.onnx")
    saved, content = weights.with_name(f"{weights.name}.packed.onnx"), weights.with_name(f"{weights.name}.packed")
    try:
        small.write_bytes(_alone(graph, nodes, places, weights.name).SerializeToString())
        options = session_options(1)
        options.optimized_model_filepath = str(saved)
        for option, value in (
            ("session.optimized_model_external_initializers_file_name", content.name),
            ("session.optimized_model_external_initializers_min_size_in_bytes", "0"),
            ("session.save_external_prepacked_constant_initializers", "1"),
        ):
            options.add_session_config_entry(option, value)
        ort = onnxruntime_module()
        ort.InferenceSession(str(small), options, providers=["CPUExecutionProvider"])
        model = onnx.load_model(str(saved), load_external_data=False)
        found = np.memmap(content, np.uint8, "r")
        for tensor in model.graph.initializer:
            for entry in tensor.external_data:
                if entry.key.startswith("prepacked_"):
                    key, _, blobs = entry.value.partition("|")
                    offset, length, rest = blobs.split(";", 2)
                    yield tensor.name, key, found[int(offset) : int(offset) + int(length)], rest
        del found
    finally:
        for path in (small, saved, content):
            path.unlink(missing_ok=True)


def _alone(graph: Graph, nodes: Iterable[onnx.NodeProto], places: dict[str, Place], location: str) -> onnx.ModelProto:
    """A model of these nodes alone: their first input and their output are the model's own."""
    copies, inputs, outputs, names = [], [], [], set()
    for i, node in enumerate(nodes):
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.input[0], copy.output[0] = f"x{i}", f"y{i}"
        copies.append(copy)
        names.update(copy.input[1:])
        inputs.append(helper.make_tensor_value_info(copy.input[0], onnx.TensorProto.FLOAT, None))
        outputs.append(helper.make_tensor_value_info(copy.output[0], onnx.TensorProto.FLOAT, None))
    initializers = []
    for tensor in graph.model.graph.initializer:
        if tensor.name in names:
            initializer = onnx.TensorProto()
            initializer.CopyFrom(tensor)
            if tensor.name in places:
                _refer(initializer, location, places[tensor.name])
            initializers.append(initializer)
    made = helper.make_graph(copies, "weights", inputs, outputs, initializers)
    return helper.make_model(made, opset_imports=graph.model.opset_import, ir_version=graph.model.ir_version)


def _refer(tensor: onnx.TensorProto, location: str, place: Place) -> None:
    """Makes a tensor refer to bytes of a file beside the model."""
    del tensor.external_data[:]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", place[0]), ("length", place[1])):
        tensor.external_data.add(key=key, value=str(value))
