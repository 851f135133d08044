"""A lowered graph in ONNX Runtime: options, weights, states bound to buffers.

Knows ONNX Runtime. Must not know MIL, packages or how users name their inputs (model.py does).
"""

from __future__ import annotations

import ctypes
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from lilims.core.errors import ExecutionError, LilimsError, MissingDependencyError
from lilims.core.privacy import telemetry_off

from .buffers import StateBuffers, fit_mask, places_needed
from .failures import failure
from .plan import Call, Graph, Plan
from .program import Array

__all__ = ["Executable", "Native", "onnxruntime_module", "open_session", "return_freed_memory", "session_options"]

_PLAIN = Call()
_MOST_FOLDED = 16 << 20  # bytes of one op's result
_LARGE = 64 << 20  # bytes of weights that are not to be unpacked anew at each call


@dataclass(frozen=True)
class Native:
    """What a session needs for ops of lilims-kernels: the library, and the folder that its weights' places are in."""

    library: Path
    folder: Path


class Executable:
    """A graph that is ready to run.

    Args:
        graph: the graph; only its plan is looked at where `file` is given.
        threads: threads of one op; one per physical core when left out.
        file: an ONNX model made of the graph, whose weights lie beside it and are mapped.
        optimised: whether the file holds what ONNX Runtime made of the graph.
        native: what a graph with ops of lilims-kernels needs; its weights are those of the package.
        trace: what the names of ONNX Runtime's profiles begin with; none are written when left out.

    Raises:
        MissingDependencyError: ONNX Runtime is not installed.
        ExecutionError: ONNX Runtime refuses the graph.
        PackageError: a weight contradicts itself.
    """

    def __init__(
        self,
        graph: Plan,
        *,
        threads: int | None = None,
        file: Path | None = None,
        optimised: bool = False,
        native: Native | None = None,
        trace: Path | None = None,
    ) -> None:
        ort = onnxruntime_module()
        self._ort = ort
        self._slots = graph.slots
        self._inputs = {name: onnx_name for name, (onnx_name, _) in graph.inputs.items()}
        self._outputs = [name for name, _ in graph.outputs.values()]
        self._results = self._outputs + (["overflow", "underflow"] if graph.checked else [])
        self._rows = [slot for slot in graph.slots if slot.output and slot.row is not None]
        self._whole = [slot for slot in graph.slots if slot.output and slot.row is None]
        self._profile: Path | None = None
        options = session_options(threads)
        if optimised or (graph.checked and _weights(graph) < _LARGE):
            # Of a checked graph most nodes look at results, and to optimise them takes longer than small products do.
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        if trace is not None:
            options.enable_profiling, options.profile_file_prefix = True, str(trace)
        try:
            if file is not None:
                self._session = open_session(file, options, native)
            else:
                assert isinstance(graph, Graph), "a plan has no model"
                self._session = _open_graph(ort, graph, options, native)
        except LilimsError:
            raise
        except Exception as exc:  # ONNX Runtime's exceptions share no base class
            raise failure("ONNX Runtime does not accept the lowered graph", exc, where=graph.name) from exc
        self._bindings: weakref.WeakKeyDictionary[StateBuffers, tuple[int, Any]] = weakref.WeakKeyDictionary()

    def run(
        self, feeds: dict[str, Array], states: StateBuffers | None, call: Call = _PLAIN, time_limit: float | None = None
    ) -> tuple[list[Array], list[Array]]:
        """Runs once. `feeds` are by the names of `Plan.inputs`; the states are updated in place.

        Args:
            call: which of the graph's functions this is.
            time_limit: seconds after which the run ends with an error.

        Returns:
            the function's outputs in order, and the values of "overflow" and "underflow" where the graph has them.

        Raises:
            ExecutionError: a node failed, or the time is over.
        """
        tokens = call.tokens(feeds) if call.prefix is not None else None
        every = {name: np.arange(tokens or count, dtype=np.int32) for name, count in call.every.items()}
        feeds = {**feeds, **every}
        many = tokens is not None and tokens > 1
        # ONNX Runtime looks at options longer than a small model takes for some layers: none where none are needed.
        options: Any = self._ort.RunOptions() if many or time_limit is not None else None
        try:
            with _ended_after(time_limit, options):
                if states is None or not self._slots:
                    found = self._session.run(self._results, self._named(feeds), options)
                else:
                    with states.lock:
                        if tokens is not None:
                            feeds = _reserved(feeds, states, call, tokens)
                        else:  # it takes rows at their full length, whatever was written into a new state before
                            for name in {slot.state for slot in self._slots}:
                                states.whole(name)
                        if many:  # what many tokens need differs with the cache's length: kept, it would add up
                            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
                        found = self._run_bound(self._named(feeds), states, options)
        except LilimsError:
            raise
        except Exception as exc:  # ONNX Runtime's exceptions share no base class
            if options is not None and options.terminate:
                raise ExecutionError(f"the program did not end within {time_limit:g} s") from exc
            raise failure("the program failed", exc) from exc
        count = len(self._outputs)
        return found[:count], found[count:]

    def end_trace(self) -> Path:
        """Stops profiling; the file that it wrote, in Chrome's trace format."""
        if self._profile is None:
            self._profile = Path(self._session.end_profiling())
        return self._profile

    def _named(self, feeds: dict[str, Array]) -> dict[str, Array]:
        return {self._inputs[name]: array for name, array in feeds.items()}

    def _run_bound(self, feeds: dict[str, Array], states: StateBuffers, options: Any) -> list[Array]:
        version, binding = self._bindings.get(states, (-1, None))
        if binding is None or version != states.version:
            binding = self._bind(states)
            self._bindings[states] = (states.version, binding)
        for name, array in feeds.items():
            binding.bind_ortvalue_input(name, self._ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array)))
        fresh = self._results + [str(slot.output) for slot in self._whole]
        for name in fresh:
            binding.bind_output(name, "cpu")  # anew each time, or the last call's results would be overwritten
        self._session.run_with_iobinding(binding, options)
        found = [value.numpy() for value in binding.get_outputs()[len(self._rows) :]]
        for slot, content in zip(self._whole, found[len(self._results) :], strict=True):
            np.copyto(states.part(slot), content)
        return found[: len(self._results)]

    def _bind(self, states: StateBuffers) -> Any:
        """A binding with the state's buffers in it. Rows are input and output at once: they are written in place."""
        parts = [states.part(slot) for slot in self._slots]  # first: a state that becomes whole changes its buffers
        binding = self._session.io_binding()
        for slot, part in zip(self._slots, parts, strict=True):
            value = self._ort.OrtValue.ortvalue_from_numpy(part)
            if slot.input:
                binding.bind_ortvalue_input(slot.input, value)
            if slot.output and slot.row is not None:
                binding.bind_ortvalue_output(slot.output, value)
        return binding


@contextmanager
def _ended_after(seconds: float | None, options: Any) -> Iterator[None]:
    """Tells ONNX Runtime to stop, which it does between two nodes, if the body takes longer."""
    if seconds is None:
        yield
        return
    timer = threading.Timer(seconds, setattr, (options, "terminate", True))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _weights(graph: Plan) -> int:
    """Bytes of what a graph multiplies with; where that lies in a file of its own it may be any number."""
    return sum(weight.nbytes for weight in graph.weights.values()) if isinstance(graph, Graph) else _LARGE


def _reserved(feeds: dict[str, Array], states: StateBuffers, call: Call, tokens: int) -> dict[str, Array]:
    """The feeds of a call that sees as many places of its cache as there is room for, once it has enough."""
    prefix = call.prefix
    assert prefix is not None
    masks = {name: feeds[name] for name in prefix.masks}
    total = states.shapes[prefix.state][prefix.axis]
    needed = places_needed(tokens, int(np.asarray(feeds[prefix.slot]).item()), list(masks.values()), total)
    held = states.reserve(prefix.state, prefix.axis, needed)
    return {**feeds, **{name: fit_mask(mask, held) for name, mask in masks.items()}}


def session_options(threads: int | None) -> Any:
    """Options that every session of ours has."""
    ort = onnxruntime_module()
    options = ort.SessionOptions()
    options.log_severity_level = 4  # its errors arrive as exceptions
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.use_deterministic_compute = True
    options.enable_mem_reuse = False  # to plan it takes as long as all else of opening; the arena does it as well
    options.inter_op_num_threads = 1
    options.intra_op_num_threads = threads or 0  # 0: one per physical core
    options.add_session_config_entry("session.force_spinning_stop", "1")  # no spinning between calls
    # What a small file may ask for when it is opened: larger results of constants are computed when it runs.
    options.add_session_config_entry("optimization.constant_folding_max_output_size_in_bytes", str(_MOST_FOLDED))
    if _shared_arena():
        options.add_session_config_entry("session.use_env_allocators", "1")
    return options


@lru_cache(maxsize=1)
def _shared_arena() -> bool:
    """Registers one arena for all sessions that takes what is asked for: by default it grows by powers of two."""
    ort = onnxruntime_module()
    info = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    try:
        ort.create_and_register_allocator(info, ort.OrtArenaCfg({"arena_extend_strategy": 1}))
    except Exception:  # this process has registered another one; ONNX Runtime's exceptions share no base class
        return False
    return True


def open_session(model: Path | bytes, options: Any, native: Native | None) -> Any:
    """ONNX Runtime's session of a model: a file with its weights beside it, or bytes."""
    if native is not None:
        options.register_custom_ops_library(str(native.library))
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(native.folder))
        if isinstance(model, Path):  # as bytes: weights of a model in a file have to lie beside it
            model = model.read_bytes()
    given = str(model) if isinstance(model, Path) else model
    return onnxruntime_module().InferenceSession(given, options, providers=["CPUExecutionProvider"])


def _open_graph(ort: Any, graph: Graph, options: Any, native: Native | None) -> Any:
    if graph.weights:
        values = [ort.OrtValue.ortvalue_from_numpy(weight.load()) for weight in graph.weights.values()]
        options.add_external_initializers(list(graph.weights), values)
    return open_session(graph.model.SerializeToString(), options, native)


def onnxruntime_module() -> Any:
    """ONNX Runtime, its telemetry off.

    Raises:
        MissingDependencyError: it is not installed.
    """
    telemetry_off()
    try:
        import onnxruntime
    except ImportError as exc:
        raise MissingDependencyError(
            "the portable executor needs ONNX Runtime", hint="pip install onnxruntime"
        ) from exc
    onnxruntime.disable_telemetry_events()  # Windows' own channel, and where it was imported before
    return onnxruntime


def return_freed_memory() -> None:
    """Gives back what building a session freed: glibc keeps it, and it is as much as the weights (measured)."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
