"""A lowered graph in ONNX Runtime: options, weights, states bound to buffers.

Knows ONNX Runtime and numpy buffers. Must not know MIL, packages or how users name their inputs (model.py does).
"""

from __future__ import annotations

import ctypes
import sys
import threading
import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lilims.core.errors import ExecutionError, MissingDependencyError, UnsupportedError
from lilims.core.privacy import telemetry_off

from .compiler import Graph, Slot
from .lowering.scope import ONNX_DTYPES
from .program import Array, TensorType

__all__ = ["Executable", "StateBuffers", "return_freed_memory"]


class StateBuffers:
    """The contents of a package's states, and the lock that makes calls on them take turns.

    Attributes:
        arrays: state name to its buffer: float32 for fp16, C-contiguous, never replaced.

    Raises:
        ExecutionError: there is not enough memory.
        UnsupportedError: a state has a flexible shape.
    """

    def __init__(self, types: dict[str, TensorType]) -> None:
        self.types = types
        self.arrays: dict[str, NDArray[Any]] = {}
        for name, tensor in types.items():
            shape = tuple(d for d in tensor.shape if d is not None)
            if len(shape) < tensor.rank:
                raise UnsupportedError(f"the state {name!r} has a flexible shape")
            try:
                self.arrays[name] = np.zeros(shape, ONNX_DTYPES[tensor.dtype])
            except (MemoryError, ValueError) as exc:
                raise ExecutionError(f"no memory for the state {name!r}, {list(shape)}") from exc
        self.lock = threading.Lock()

    def part(self, slot: Slot) -> NDArray[Any]:
        """The buffer that a slot names, as a view."""
        array = self.arrays[slot.state]
        return array if slot.row is None else array[slot.row : slot.row + 1]


class Executable:
    """A graph that is ready to run.

    Raises:
        MissingDependencyError: ONNX Runtime is not installed.
        ExecutionError: ONNX Runtime refuses the graph.
    """

    def __init__(self, graph: Graph, *, threads: int | None = None) -> None:
        ort = _onnxruntime()
        self._ort = ort
        self._inputs = graph.inputs
        self._slots = graph.slots
        self._outputs = [name for name, _ in graph.outputs.values()]
        self._results = self._outputs + (["overflow", "underflow"] if graph.checked else [])
        self._rows = [slot for slot in graph.slots if slot.output and slot.row is not None]
        self._whole = [slot for slot in graph.slots if slot.output and slot.row is None]
        options = ort.SessionOptions()
        options.log_severity_level = 4  # its errors arrive as exceptions
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.use_deterministic_compute = True
        options.inter_op_num_threads = 1
        options.intra_op_num_threads = threads or 0  # 0: one per physical core
        options.add_session_config_entry("session.force_spinning_stop", "1")  # no spinning between calls
        if graph.weights:
            values = [ort.OrtValue.ortvalue_from_numpy(array) for array in graph.weights.values()]
            options.add_external_initializers(list(graph.weights), values)
        try:
            self._session = ort.InferenceSession(
                graph.model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as exc:  # ONNX Runtime's exceptions share no base class
            raise ExecutionError(
                f"ONNX Runtime does not accept the lowered graph: {_first_line(exc)}", where=graph.model.graph.name
            ) from exc
        self._bindings: weakref.WeakKeyDictionary[StateBuffers, Any] = weakref.WeakKeyDictionary()

    def run(self, feeds: dict[str, Array], states: StateBuffers | None) -> tuple[list[Array], list[Array]]:
        """Runs once. `feeds` are by the ONNX names of `Graph.inputs`; the states are updated in place.

        Returns:
            the function's outputs in order, and the values of "overflow" and "underflow" where the graph has them.

        Raises:
            ExecutionError: a node failed.
        """
        try:
            if states is None or not self._slots:
                found = self._session.run(self._results, feeds)
            else:
                with states.lock:
                    found = self._run_bound(feeds, states)
        except Exception as exc:  # ONNX Runtime's exceptions share no base class
            raise ExecutionError(f"the program failed: {_first_line(exc)}") from exc
        count = len(self._outputs)
        return found[:count], found[count:]

    def _run_bound(self, feeds: dict[str, Array], states: StateBuffers) -> list[Array]:
        binding = self._bindings.get(states)
        if binding is None:
            binding = self._bind(states)
            self._bindings[states] = binding
        for name, array in feeds.items():
            binding.bind_ortvalue_input(name, self._ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array)))
        fresh = self._results + [str(slot.output) for slot in self._whole]
        for name in fresh:
            binding.bind_output(name, "cpu")  # anew each time, or the last call's results would be overwritten
        self._session.run_with_iobinding(binding)
        found = [value.numpy() for value in binding.get_outputs()[len(self._rows) :]]
        for slot, content in zip(self._whole, found[len(self._results) :], strict=True):
            np.copyto(states.part(slot), content)
        return found[: len(self._results)]

    def _bind(self, states: StateBuffers) -> Any:
        """A binding with the state's buffers in it. Rows are input and output at once: they are written in place."""
        binding = self._session.io_binding()
        for slot in self._slots:
            value = self._ort.OrtValue.ortvalue_from_numpy(states.part(slot))
            if slot.input:
                binding.bind_ortvalue_input(slot.input, value)
            if slot.output and slot.row is not None:
                binding.bind_ortvalue_output(slot.output, value)
        return binding


def _onnxruntime() -> Any:
    telemetry_off()
    try:
        import onnxruntime
    except ImportError as exc:
        raise MissingDependencyError(
            "the portable executor needs ONNX Runtime", hint="pip install onnxruntime"
        ) from exc
    onnxruntime.disable_telemetry_events()  # Windows' own channel, and where it was imported before
    return onnxruntime


def _first_line(exc: Exception) -> str:
    return str(exc).strip().splitlines()[0][:500] if str(exc).strip() else type(exc).__name__


def return_freed_memory() -> None:
    """Gives back what building a session freed: glibc keeps it, and it is as much as the weights (measured)."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
