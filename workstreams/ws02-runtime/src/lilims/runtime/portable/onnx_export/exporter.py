"""From a package to an ONNX file.

Knows the order: read, lower, name, write. Must not know how any of it is done, or who asked for it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import onnx

from lilims.core.errors import OutputExistsError, UsageError

from ..compiler import compile_function, graph_nodes
from ..features import read_interface
from ..fusion import fuse
from ..package import Package
from ..program import StateType
from ..reader import read_program
from ..runner import find_function
from .file import INLINE_LIMIT, data_file, write_model
from .interface import expose
from .weights import in_half

__all__ = ["OnnxExport", "export_onnx"]

Precision = Literal["exact", "fast"]
_PRECISIONS = ("exact", "fast")


@dataclass(frozen=True)
class OnnxExport:
    """What was written.

    Attributes:
        files: the model, and the file of its weights where those do not fit into it.
        size: bytes of all files.
        opset: the version of ONNX's own operators that the model needs.
        contrib_ops: operators of ONNX Runtime's own, outside the standard, and how many nodes have each.
        inputs, outputs: their names in the file, states left out; of the inputs those without a default.
        optional: inputs that have a default.
        states: input that a state's content goes into → output that its new content comes from.
    """

    files: tuple[Path, ...]
    size: int
    function: str
    precision: str
    opset: int
    contrib_ops: dict[str, int]
    inputs: tuple[str, ...]
    optional: tuple[str, ...]
    outputs: tuple[str, ...]
    states: dict[str, str]


def export_onnx(
    package: str | PathLike[str],
    output: str | PathLike[str],
    function_name: str | None = None,
    *,
    precision: Precision = "exact",
    inline_limit: int = INLINE_LIMIT,
) -> OnnxExport:
    """Writes one function of a package as an ONNX file.

    The file takes and gives what `MLModel.predict` does, as arrays: fp16 features are float32, images are their pixels
    [1, C, H, W], flexible dimensions are symbols, optional inputs have their defaults. A state is an input of its name
    and an output `NAME_out`, both whole.

    Args:
        package: the package's folder.
        output: the file; weights that do not fit into it go to `OUTPUT.data`.
        function_name: the function; the package's default function when left out.
        precision: "exact" (float32) or "fast" (quantised products with int8 activations), as in `MLModel`.
        inline_limit: bytes that the model's file may have; 2 GB is the most that the format allows.

    Raises:
        OutputExistsError: `output` exists, or the file of its weights.
        PackageError: the package is damaged.
        UnsupportedError: it is not an ML Program, or it holds an op or a form of one that is not known here.
        UsageError: there is no such function or precision.
        StorageError: the disk is full or the folder cannot be written.
    """
    if precision not in _PRECISIONS:
        raise UsageError(f"unknown precision {precision!r}", hint=f"use one of {', '.join(_PRECISIONS)}")
    target = Path(output)
    _refuse_existing(target)
    opened = Package(package)
    program = read_program(opened)
    function = find_function(program.functions, function_name or program.default_function)
    interface = read_interface(opened.spec, function)
    graph = compile_function(fuse(function, precision), precision, standard=True)
    states = {v.name: v.type.tensor for v in function.inputs if isinstance(v.type, StateType)}
    model, weights, names = expose(graph, interface, states)
    weights = in_half(model, weights)
    _describe(model, opened, function.name, precision, names)
    files = write_model(model, weights, target, inline_limit)
    overridable = {tensor.name for tensor in model.graph.initializer}
    inputs = [value.name for value in model.graph.input if value.name not in names]
    return OnnxExport(
        files=tuple(files),
        size=sum(file.stat().st_size for file in files),
        function=function.name,
        precision=precision,
        opset=next(opset.version for opset in model.opset_import if not opset.domain),
        contrib_ops=_contrib_ops(model),
        inputs=tuple(name for name in inputs if name not in overridable),
        optional=tuple(name for name in inputs if name in overridable),
        outputs=tuple(value.name for value in model.graph.output if value.name not in names.values()),
        states=names,
    )


def _refuse_existing(target: Path) -> None:
    for path in (target, data_file(target)):
        if path.exists() or path.is_symlink():
            raise OutputExistsError("the target exists already", where=path, hint="choose another -o, or delete it")


def _describe(model: onnx.ModelProto, package: Package, function: str, precision: str, states: dict[str, str]) -> None:
    """What the file says of itself: where it is from, and how its states go round."""
    metadata = package.spec.description.metadata
    own = {
        "function": function,
        "precision": precision,
        "states": json.dumps(states),
        "source": package.path.name,
        "source_sha256": package.sha256(),
        "description": str(metadata.shortDescription),
        "author": str(metadata.author),
        "license": str(metadata.license),
        "version": str(metadata.versionString),
    }
    given = {f"user.{key}": str(value) for key, value in sorted(metadata.userDefined.items())}
    for key, value in {**own, **given}.items():
        if value:
            model.metadata_props.add(key=key, value=value)
    model.doc_string = str(metadata.shortDescription)


def _contrib_ops(model: onnx.ModelProto) -> dict[str, int]:
    found: dict[str, Any] = {}
    for node in graph_nodes(model.graph.node):
        if node.domain not in ("", "ai.onnx.ml"):
            name = f"{node.domain}.{node.op_type}"
            found[name] = found.get(name, 0) + 1
    return dict(sorted(found.items()))
