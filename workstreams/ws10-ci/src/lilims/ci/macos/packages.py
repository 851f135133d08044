"""Tiny packages of one idea each, written the way that a conversion writes its own.

Knows coremltools' Builder and lilims.conversion's writer. Must not know what a package is to prove.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lilims.conversion._quiet import quiet_coremltools

__all__ = ["Body", "dtype", "write_package"]

Body = Callable[[Any, Mapping[str, Any]], Any]
"""Builds a function's output: takes the Builder, and inputs and states by name."""

_TYPES = {"fp16": "fp16", "int32": "int32"}
_NARROW = {"int4": "np_int4_dtype", "uint4": "np_uint4_dtype"}


def dtype(name: str) -> Any:
    """The numpy dtype under which coremltools knows a sub-byte type: int4 or uint4."""
    with quiet_coremltools():
        from coremltools.converters.mil.mil import types

    return getattr(types, _NARROW[name])


def write_package(
    path: Path,
    functions: Mapping[str, tuple[Mapping[str, tuple[str, tuple[int, ...]]], Body]],
    *,
    state: tuple[int, ...] | None = None,
) -> Path:
    """Writes an ML Program of iOS 18.

    Args:
        path: the .mlpackage to make.
        functions: name → inputs (name → type, shape) and body. The first is the default; each has one output, `y`.
        state: the shape of an fp16 state `kv_cache`, which every function has then.
    """
    with quiet_coremltools():
        import coremltools as ct
        from coremltools.converters.mil import Builder as mb
        from coremltools.converters.mil.mil import Function, Program, types

        from lilims.conversion.emit.export import forget_names
        from lilims.conversion.emit.program import save, weights_path
        from lilims.conversion.weights.weight_file import WeightFile

        forget_names()
        program = Program()
        for name, (inputs, body) in functions.items():
            given: dict[str, Any] = {
                key: mb.placeholder(shape, dtype=getattr(types, _TYPES[kind])) for key, (kind, shape) in inputs.items()
            }
            if state is not None:
                given["kv_cache"] = mb.state_tensor_placeholder(state, types.fp16)
            with Function(given, opset_version=ct.target.iOS18) as function:
                function.set_outputs([mb.identity(x=body(mb, function.inputs), name="y")])
            program.add_function(name, function)
        program.default_function_name = next(iter(functions))
        program.export_as_multifunction = True
        weights = weights_path(path)
        weights.parent.mkdir(parents=True)
        with WeightFile(weights) as file:
            save(program, path, {}, file)
    return path
