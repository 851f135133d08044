"""Weights that a graph takes from the package's own file, where ONNX Runtime maps them.

Knows blob files and how an ONNX model refers to bytes of a file. Must not know which op takes which weight.

ONNX Runtime maps what a model refers to by the path of a file below one folder; all other weights are put into the
model, which is why they have to be few.
"""

from __future__ import annotations

import logging
from pathlib import Path

import onnx

from .lowering.scope import to_initializer
from .package import MODEL_PATH, Package
from .plan import Graph

__all__ = ["keep_in_package"]

_MOST = 64 << 20  # bytes of other weights; ONNX Runtime copies them into memory of its own
_LOG = logging.getLogger(__name__)


def keep_in_package(graph: Graph, package: Package) -> bool:
    """Makes a graph refer to the package for what lies there; nothing is left in `graph.weights`.

    Returns:
        False, and the graph is as it was, where no weight lies there, or too much lies elsewhere.

    Raises:
        PackageError: a weight contradicts itself.
    """
    kept = {name: weight.stored for name, weight in graph.weights.items() if weight.stored is not None}
    others = sum(weight.nbytes for name, weight in graph.weights.items() if name not in kept)
    files = {constant.blob[0] for constant in kept.values() if constant.blob is not None}
    folder = package.spec_path.parent
    if not kept or others > _MOST or not all(_below(folder, file) for file in files):
        _LOG.info("%s/%s: not for lilims-kernels: %d bytes of other weights", package.path, graph.name, others)
        return False
    for tensor in graph.model.graph.initializer:
        if tensor.name in kept:
            constant = kept[tensor.name]
            assert constant.blob is not None and constant.raw is not None, "Scope.stored made sure"
            size = constant.raw().nbytes  # checked against the file
            file, record = constant.blob
            _refer(tensor, file.removeprefix(MODEL_PATH), package.blob_file(file).record(record).offset, size)
        elif tensor.name in graph.weights:
            tensor.CopyFrom(to_initializer(tensor.name, graph.weights[tensor.name].load()))
    graph.weights.clear()
    return True


def _below(folder: Path, file: str) -> bool:
    """Whether a blob file lies below the folder after all links are followed, as ONNX Runtime wants it."""
    return (folder / file.removeprefix(MODEL_PATH)).resolve().is_relative_to(folder.resolve())


def _refer(tensor: onnx.TensorProto, location: str, offset: int, length: int) -> None:
    del tensor.external_data[:]
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))
