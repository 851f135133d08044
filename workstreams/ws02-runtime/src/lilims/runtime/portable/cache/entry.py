"""What an entry of the cache says: the functions of a package, and their graphs as files.

Knows the JSON forms of types, plans and calls, and what an entry depends on. Must not know packages or how graphs run.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..plan import Call, Plan, Prefix, Slot
from ..program import Function, StateType, TensorType, Value

if TYPE_CHECKING:
    from ..lowered import Lowered
    from ..session import Native

__all__ = ["KeptGraph", "entry_key", "read_functions", "read_graphs", "write_entry"]

_FORMAT = 3


def entry_key(identity: str, precision: str, *, native: bool = False) -> str:
    """A name for what is made of a package: it changes with the package, the code, ONNX Runtime and the processor.

    Args:
        native: whether the graphs may have ops of lilims-kernels.
    """
    parts = [_FORMAT, identity, precision, native, *_surroundings()]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


@lru_cache(maxsize=1)
def _surroundings() -> tuple[str, ...]:
    from importlib.metadata import version

    simd = np.show_config(mode="dicts")["SIMD Extensions"]
    features = ",".join(sorted({*simd.get("baseline", ()), *simd.get("found", ())}))
    return version("onnxruntime"), version("onnx"), platform.system(), platform.machine(), features, _sources()


def _sources() -> str:
    """Stands for the code that makes graphs, also where no version number tells one state of it from another."""
    digest = hashlib.sha256()
    root = Path(__file__).parents[1]
    for path in sorted(root.rglob("*.py")):
        found = path.stat()
        digest.update(f"{path.relative_to(root).as_posix()} {found.st_size} {found.st_mtime_ns}\n".encode())
    return digest.hexdigest()


# -- writing ---------------------------------------------------------------------------------------------------------


def write_entry(
    folder: Path, functions: Mapping[str, Function], default: str, graphs: list[Lowered], native: Native | None
) -> dict[str, Any]:
    """Writes graphs into a folder; gives the entry's body.

    Args:
        native: what graphs with ops of lilims-kernels need.

    Raises:
        OSError: a file cannot be written.
        PackageError: a weight contradicts itself.
    """
    from .optimised import optimise
    from .packing import write_graph

    written: list[dict[str, Any]] = []
    for i, lowered in enumerate(graphs):
        model = folder / f"{i}.onnx"
        write_graph(lowered.graph, model, folder / f"{i}.weights")
        written.append(
            {
                "plan": _plan_out(lowered.graph),
                "calls": {name: asdict(call) for name, call in lowered.calls.items()},
                "function": lowered.function.name,
                "native": lowered.native,
                "optimised": optimise(model, native if lowered.native else None),
            }
        )
    described = {name: _function_out(function) for name, function in functions.items()}
    return {"default": default, "functions": described, "graphs": written}


def _function_out(function: Function) -> dict[str, Any]:
    inputs = [[value.name, _type_out(value.type)] for value in function.inputs]
    return {"opset": function.opset, "inputs": inputs, "outputs": list(function.outputs)}


def _type_out(value: Any) -> list[Any]:
    tensor = value.tensor if isinstance(value, StateType) else value
    if not isinstance(tensor, TensorType):
        raise TypeError(f"{value} is no tensor")
    return ["state" if isinstance(value, StateType) else "tensor", tensor.dtype, list(tensor.shape)]


def _plan_out(plan: Plan) -> dict[str, Any]:
    return {
        "name": plan.name,
        "inputs": {key: [name, _type_out(tensor)] for key, (name, tensor) in plan.inputs.items()},
        "outputs": {key: [name, _type_out(tensor)] for key, (name, tensor) in plan.outputs.items()},
        "slots": [asdict(slot) for slot in plan.slots],
    }


# -- reading ---------------------------------------------------------------------------------------------------------


def read_functions(body: Mapping[str, Any]) -> tuple[dict[str, Function], str]:
    """The package's functions without their ops, and the default function's name."""
    functions = {}
    for name, found in body["functions"].items():
        inputs = tuple(Value(key, _type_in(kind)) for key, kind in found["inputs"])
        functions[name] = Function(name, found["opset"], inputs, (), tuple(found["outputs"]))
    return functions, body["default"]


@dataclass(frozen=True)
class KeptGraph:
    """A graph of an entry.

    Attributes:
        model, weights: names of its files.
        native: whether it has ops of lilims-kernels.
        optimised: whether it is what ONNX Runtime made of it.
    """

    plan: Plan
    calls: dict[str, Call]
    model: str
    weights: str
    native: bool
    optimised: bool


def read_graphs(body: Mapping[str, Any]) -> list[KeptGraph]:
    """The graphs of an entry."""
    return [
        KeptGraph(
            _plan_in(graph["plan"]),
            {name: _call_in(call) for name, call in graph["calls"].items()},
            f"{i}.onnx",
            f"{i}.weights",
            graph["native"],
            graph["optimised"],
        )
        for i, graph in enumerate(body["graphs"])
    ]


def _type_in(found: list[Any]) -> TensorType | StateType:
    kind, dtype, shape = found
    tensor = TensorType(dtype, tuple(shape))
    return StateType(tensor) if kind == "state" else tensor


def _features_in(found: Mapping[str, Any]) -> dict[str, tuple[str, TensorType]]:
    return {key: (name, TensorType(kind[1], tuple(kind[2]))) for key, (name, kind) in found.items()}


def _plan_in(found: Mapping[str, Any]) -> Plan:
    slots = tuple(Slot(**slot) for slot in found["slots"])
    return Plan(found["name"], _features_in(found["inputs"]), _features_in(found["outputs"]), slots, ())


def _call_in(found: Mapping[str, Any]) -> Call:
    prefix = found["prefix"]
    given = None if prefix is None else Prefix(**{**prefix, "masks": tuple(prefix["masks"])})
    return Call(dict(found["every"]), given, dict(found["ops"]))
