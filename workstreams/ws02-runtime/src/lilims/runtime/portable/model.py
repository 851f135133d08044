"""`MLModel`: the portable executor behind the interface of `coremltools.models.MLModel`.

Knows what a user calls. Must not know protobuf fields, lowerings or ONNX Runtime: it puts the parts together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lilims.core.errors import UsageError

from .buffers import StateBuffers
from .cache import Cache
from .features import FeatureDescriptions, read_interface
from .images import write_image
from .kernels import kernels_library
from .lowering.scope import Precision
from .program import Array, Constant, Function, Op, Ref, StateType, TensorType
from .runnable import Options, Runnable, open_package

__all__ = ["MLModel", "MLState"]

_PRECISIONS = ("fast", "exact", "fp16")


class MLState:
    """The states of a package, zeros at first. Made by `MLModel.make_state`.

    One object serves every function of its package, whichever `MLModel` made it. Calls on it take turns.
    """

    def __init__(self, buffers: StateBuffers) -> None:
        self._buffers = buffers

    def read_state(self, name: str) -> NDArray[Any]:
        """A copy of a state's content; fp16 states come as float32.

        Raises:
            UsageError: there is no state of that name.
        """
        self.shape(name)
        with self._buffers.lock:
            return self._buffers.read(name)

    def write_state(self, name: str, value: Any) -> None:
        """Replaces a state's content; values are rounded to fp16 where the state is fp16.

        Raises:
            UsageError: there is no state of that name, or the shape is another.
        """
        shape = self.shape(name)
        new = np.asarray(value)
        if new.shape != shape:
            raise UsageError(f"the state {name!r} has shape {list(shape)}, not {list(new.shape)}")
        if self._buffers.types[name].dtype == "fp16":
            with np.errstate(over="ignore"):
                new = new.astype(np.float16)
        with self._buffers.lock:
            np.copyto(self._buffers.whole(name), new)

    def shape(self, name: str) -> tuple[int, ...]:
        """A state's shape.

        Raises:
            UsageError: there is no state of that name.
        """
        if name not in self._buffers.shapes:
            raise UsageError(f"there is no state {name!r}", hint=f"the states are {', '.join(self._buffers.shapes)}")
        return self._buffers.shapes[name]

    def read_rows(self, name: str, rows: int) -> NDArray[np.float16]:
        """A copy of an fp16 state's first rows, along the dimension before the last, as fp16: nothing is lost.

        Raises:
            UsageError: there is no state of that name.
        """
        axis = len(self.shape(name)) - 2
        with self._buffers.lock:
            return self._buffers.read(name, axis, rows, np.float16)

    def write_rows(self, name: str, values: NDArray[np.float16]) -> None:
        """Puts values into a state's first rows; the other rows stay.

        Raises:
            UsageError: there is no state of that name.
        """
        axis = len(self.shape(name)) - 2
        with self._buffers.lock:
            self._buffers.write(name, axis, values)


class MLModel:
    """One function of an `.mlpackage` or `.mlmodelc`, run by ONNX Runtime on any platform.

    Args:
        model: the package's folder.
        function_name: the function to run; the package's default function when left out.
        compute_units: accepted for the sake of coremltools' signature, and ignored.
        skip_model_load: read the description only; `predict` then compiles on first use.
        optimization_hints: as compute_units.
        precision: "fast" (float32, quantised products with int8 activations), "exact" (float32), or "fp16" (every
            op's result rounded to fp16, as a device computes; after a `predict` with it `overflows` names the ops whose
            result left fp16's range first, `underflows` the share of an op's nonzero results that became 0).
        threads: threads of one op; one per physical core when left out.
        fused: False runs the plain graph, op by op, which is what fusions are compared with.
        cache: where graphs and the weights in the kernels' own layout are kept between processes; None keeps nothing.
        trace: what the names of ONNX Runtime's profiles begin with; None profiles nothing. See `end_trace`.
        any_count: take fewer tokens than a decoder's function has, where its graph leaves their number open.
        kernels: whether lilims-kernels multiplies quantised weights where it is installed; None means as the settings
            say (`LILIMS_KERNELS`).

    Attributes:
        any_count: whether that is so.
        overflows: after a prediction with "fp16", names of the ops whose results are not finite although their
            inputs are.

    Raises:
        PackageError: the package is damaged.
        UnsupportedError: it is not an ML Program, or it holds an op or a form of one that is not known here.
        UsageError: there is no such function or precision.
    """

    def __init__(
        self,
        model: str | PathLike[str],
        function_name: str | None = None,
        compute_units: Any = None,
        skip_model_load: bool = False,
        optimization_hints: dict[str, Any] | None = None,
        *,
        precision: Precision = "fast",
        threads: int | None = None,
        fused: bool = True,
        cache: Cache | None = None,
        trace: Path | None = None,
        any_count: bool = False,
        kernels: bool | None = None,
    ) -> None:
        if precision not in _PRECISIONS:
            raise UsageError(f"unknown precision {precision!r}", hint=f"use one of {', '.join(_PRECISIONS)}")
        if threads is not None and threads < 1:
            raise UsageError(f"threads must be 1 or more, not {threads}")
        opened = open_package(Path(model), Options(precision, threads, fused, cache, trace, kernels_library(kernels)))
        self._runnables, self._package = opened, opened.package
        self.function_name = function_name or opened.default_function
        if self.function_name not in opened.functions:
            raise UsageError(
                f"the package has no function {self.function_name!r}",
                hint=f"its functions are {', '.join(opened.functions)}",
            )
        self.precision: Precision = precision
        self.overflows: list[str] = []
        self.underflows: dict[str, float] = {}
        self._interface = read_interface(self._package.spec, self._function)
        free = opened.free_inputs(self.function_name) if any_count else {}
        self.any_count = bool(free)
        if free:
            inputs = {name: feature.up_to(free[name]) for name, feature in self._interface.inputs.items()}
            self._interface = replace(self._interface, inputs=inputs)
        self._runnable: Runnable | None = None
        if not skip_model_load:
            self._load()

    # -- running -----------------------------------------------------------------------------------------------------

    def predict(self, data: Any, state: MLState | None = None) -> Any:
        """Runs the function once, or once for each dictionary of a list.

        Args:
            data: input name to array; float64 and float16 become float32, integers where that is exact. Untouched.
                An image is a PIL image.
            state: what `make_state` gave; needed by a function that has states, and updated by it.

        Returns:
            output name to array (fp16 as float32, a scalar as shape [1]), or a list of such dictionaries. A classifier
            gives a label (str or int) and a dictionary of probabilities by label. An image is a PIL image.

        Raises:
            UsageError: an input is missing, unknown or does not fit, or the state is missing or another package's.
            ExecutionError: the program failed, or ONNX Runtime refused it.
        """
        if isinstance(data, list):
            if state is not None:
                raise UsageError("a list of inputs cannot share one state", hint="call predict once for each")
            return [self.predict(item) for item in data]
        if not isinstance(data, Mapping):
            raise UsageError(f"inputs are a dictionary, not {type(data).__name__}")
        arrays = self._interface.convert(data)
        buffers = self._check_state(state)
        runnable = self._load()
        results, checks = runnable.executable.run(arrays, buffers, runnable.call)
        if checks:
            self.overflows = _overflows(runnable, checks[0], arrays)
            shares = zip(runnable.plan.checked, checks[1], strict=True)
            found = {runnable.own_name(op): float(share) for op, share in shares if share > 0}
            self.underflows = {name: share for name, share in found.items() if name is not None}
        images = self._interface.images
        return {
            name: write_image(result, images[name], name) if name in images else _given(result)
            for name, result in zip(runnable.plan.outputs, results, strict=True)
        }

    def make_state(self) -> MLState:
        """New states for this package's functions, all zeros."""
        return MLState(StateBuffers(self._state_types()))

    def end_trace(self) -> Path:
        """Ends profiling of the graph that this function is part of: the file written, in Chrome's trace format.

        Raises:
            UsageError: the model was made without `trace`.
        """
        return self._load().end_trace()

    def _load(self) -> Runnable:
        if self._runnable is None:
            self._runnable = self._runnables.runnable(self.function_name)
        return self._runnable

    @property
    def _function(self) -> Function:
        """The function's inputs and outputs; perhaps without its ops."""
        return self._runnables.functions[self.function_name]

    def _state_types(self) -> dict[str, TensorType]:
        """The states of all functions; functions that share one agree on it."""
        types: dict[str, TensorType] = {}
        for function in self._runnables.functions.values():
            for value in function.inputs:
                if isinstance(value.type, StateType) and types.setdefault(value.name, value.type.tensor) != (
                    value.type.tensor
                ):
                    raise UsageError(f"functions disagree on the state {value.name!r}")
        return types

    def _check_state(self, state: MLState | None) -> StateBuffers | None:
        needed = {v.name: v.type.tensor for v in self._function.inputs if isinstance(v.type, StateType)}
        if not needed:
            return None
        if not isinstance(state, MLState):
            raise UsageError(f"the function {self.function_name!r} needs a state", hint="pass state=model.make_state()")
        for name, tensor in needed.items():
            if state._buffers.types.get(name) != tensor:
                raise UsageError(f"the state given has no {name!r} of {tensor.dtype} {list(tensor.shape)}")
        return state._buffers

    # -- describing --------------------------------------------------------------------------------------------------

    def get_spec(self) -> Any:
        """A copy of the specification: a protobuf message with the fields that are read here."""
        copy = type(self._package.spec)()
        copy.CopyFrom(self._package.spec)
        return copy

    @property
    def function_names(self) -> tuple[str, ...]:
        """The functions of the package."""
        return tuple(self._runnables.functions)

    @property
    def package_path(self) -> str:
        return str(self._package.path)

    @property
    def input_description(self) -> FeatureDescriptions:
        return self._interface.input_description

    @property
    def output_description(self) -> FeatureDescriptions:
        return self._interface.output_description

    @property
    def state_description(self) -> FeatureDescriptions:
        return self._interface.state_description

    @property
    def user_defined_metadata(self) -> dict[str, str]:
        return dict(self._package.spec.description.metadata.userDefined)

    @property
    def short_description(self) -> str:
        return str(self._package.spec.description.metadata.shortDescription)

    @property
    def author(self) -> str:
        return str(self._package.spec.description.metadata.author)

    @property
    def license(self) -> str:
        return str(self._package.spec.description.metadata.license)

    @property
    def version(self) -> str:
        return str(self._package.spec.description.metadata.versionString)

    def __repr__(self) -> str:
        return f"MLModel({self.package_path!r}, function_name={self.function_name!r}, precision={self.precision!r})"


def _given(result: Any) -> Any:
    """A result as `predict` gives it: a classifier's dictionary, its label as a str or an int, or an array."""
    if isinstance(result, list):
        return result[0]
    if result.ndim == 0 and result.dtype in (np.object_, np.int64):
        return result.item()
    return np.atleast_1d(result)


def _overflows(runnable: Runnable, values: Array, inputs: Mapping[str, Array]) -> list[str]:
    """Names of the ops where a value that is not finite came up first, in the function's order."""
    if np.isfinite(values).all():
        return []
    function, graph = runnable.lowered_function, runnable.plan
    bad = {name for name, array in inputs.items() if not np.isfinite(array).all()}
    flagged = [op for op, value in zip(graph.checked, values, strict=True) if not np.isfinite(value)]
    bad |= {output.name for op in flagged for output in op.outputs}
    literals = {op.outputs[0].name: op.inputs["val"][0] for op in function.ops if op.type == "const"}

    def takes_infinity(op: Op) -> bool:
        arguments = [a for given in op.inputs.values() for a in given]
        return any(
            a.name in bad or _infinite(literals.get(a.name)) if isinstance(a, Ref) else _infinite(a) for a in arguments
        )

    names = [runnable.own_name(op) for op in flagged if not takes_infinity(op)]
    return list(dict.fromkeys(name for name in names if name is not None))


def _infinite(argument: Constant | Ref | None) -> bool:
    if not isinstance(argument, Constant) or not argument.type.is_float:
        return False
    return not np.isfinite(argument.load()).all()
