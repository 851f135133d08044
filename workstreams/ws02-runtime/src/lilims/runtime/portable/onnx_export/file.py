"""An ONNX model with its weights on the disk: in one file, or with a file beside it.

Knows the bytes of both, and writes them weight by weight: no more than one is in memory. Must not know what is in the
model. The messages are put together here because protobuf would hold them whole, twice: a GraphProto's initializers
may follow its other fields, each a tag, a length and a TensorProto whose `raw_data` comes last.
Source: onnx, `onnx.proto` (ModelProto.graph 7, GraphProto.initializer 5, TensorProto.raw_data 9) and
`docs/ExternalData.md`; protobuf, Encoding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from lilims.core.errors import PackageError
from lilims.core.files import write_atomic

from ..lowering.scope import Deferred, to_initializer

__all__ = ["INLINE_LIMIT", "data_file", "write_model"]

INLINE_LIMIT = (2 << 30) - (1 << 20)  # bytes: protobuf takes messages below 2 GiB
_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9
_ALIGNMENT = 4096  # of weights beside the model, so that they can be mapped
_HEAD = 256  # bytes, more than what a weight has beside its name and its data


def data_file(target: Path) -> Path:
    """Where the weights of a model lie that do not fit into its file."""
    return target.with_name(f"{target.name}.data")


def write_model(model: onnx.ModelProto, weights: Mapping[str, Deferred], target: Path, limit: int) -> list[Path]:
    """Writes a model; gives the files. They are all there or none is.

    Args:
        model: it has an initializer without data for each of `weights`.
        limit: bytes that its file may have.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
        PackageError: a weight contradicts itself.
    """
    strings = {name for name, weight in weights.items() if weight.dtype == np.object_}
    large = {name: weight for name, weight in weights.items() if name not in strings}
    others = [tensor for tensor in model.graph.initializer if tensor.name not in weights]
    others += [to_initializer(name, weights[name].load()) for name in sorted(strings)]
    del model.graph.initializer[:]
    model.graph.initializer.extend(others)
    size = model.ByteSize() + sum(weight.nbytes + len(name) + _HEAD for name, weight in large.items())
    if size <= limit:
        write_atomic(target, _with_weights(model, large))
        return [target]
    data = data_file(target)
    model.graph.initializer.extend(_references(large, data.name))
    write_atomic(data, _data(large))
    try:
        write_atomic(target, model.SerializeToString())
    except BaseException:
        data.unlink(missing_ok=True)
        raise
    return [target, data]


def _with_weights(model: onnx.ModelProto, weights: Mapping[str, Deferred]) -> Iterator[bytes | memoryview]:
    graph = model.graph.SerializeToString()
    heads = {name: _tensor(name, weight).SerializeToString() for name, weight in weights.items()}
    heads = {name: head + _prefix(_RAW_DATA, weights[name].nbytes) for name, head in heads.items()}
    starts = {name: _prefix(_INITIALIZER, len(head) + weights[name].nbytes) + head for name, head in heads.items()}
    size = len(graph) + sum(len(start) + weights[name].nbytes for name, start in starts.items())
    rest = onnx.ModelProto()
    rest.CopyFrom(model)
    rest.ClearField("graph")
    yield rest.SerializeToString()
    yield _prefix(_GRAPH, size)
    yield graph
    for name, weight in weights.items():
        yield starts[name]
        yield _bytes(name, weight)


def _prefix(field: int, length: int) -> bytes:
    """Tag and length of a field that is bytes or a message."""
    found = bytearray([field << 3 | 2])
    while length > 127:
        found.append(length & 127 | 128)
        length >>= 7
    found.append(length)
    return bytes(found)


def _tensor(name: str, weight: Deferred) -> onnx.TensorProto:
    kind = onnx.helper.np_dtype_to_tensor_dtype(weight.dtype)
    return onnx.TensorProto(name=name, dims=weight.shape, data_type=kind)


def _bytes(name: str, weight: Deferred) -> memoryview:
    array: Any = weight.load()
    if array.shape != weight.shape or array.dtype != weight.dtype:
        raise PackageError(f"the weight {name!r} is {array.dtype} {list(array.shape)}, not as declared")
    stored: Any = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return memoryview(stored.reshape(-1).view(np.uint8))


def _places(weights: Mapping[str, Deferred]) -> Iterator[tuple[str, int]]:
    """Where each weight begins in a file of its own."""
    end = 0
    for name, weight in weights.items():
        begin = -(-end // _ALIGNMENT) * _ALIGNMENT
        yield name, begin
        end = begin + weight.nbytes


def _references(weights: Mapping[str, Deferred], location: str) -> Iterator[onnx.TensorProto]:
    for name, begin in _places(weights):
        tensor = _tensor(name, weights[name])
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", begin), ("length", weights[name].nbytes)):
            tensor.external_data.add(key=key, value=str(value))
        yield tensor


def _data(weights: Mapping[str, Deferred]) -> Iterator[bytes | memoryview]:
    end = 0
    for name, begin in _places(weights):
        yield bytes(begin - end)
        yield _bytes(name, weights[name])
        end = begin + weights[name].nbytes
