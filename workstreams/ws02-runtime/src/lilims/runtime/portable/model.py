"""`MLModel`: the portable executor behind the interface of `coremltools.models.MLModel`.

Knows what a user calls. Must not know protobuf fields, lowerings or ONNX Runtime: it puts the parts together.
"""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lilims.core.errors import UsageError

from .buffers import StateBuffers
from .cache import Cache
from .features import FeatureDescriptions
from .kernels import kernels_library
from .lowering.dtypes import Precision
from .runnable import Options, open_package
from .runner import FunctionRunner
from .stages import Pipeline, open_pipeline

__all__ = ["MLModel", "MLState"]

_PRECISIONS = ("fast", "exact", "fp16")
_MOST_THREADS = 1024  # each is made, and has a stack, before the first call


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
    """One function of an `.mlpackage` or `.mlmodelc`, or a pipeline of models, run by ONNX Runtime on any platform.

    Args:
        model: the package's folder.
        function_name: the function to run; the package's default function when left out. A pipeline has none.
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
        any_count: take fewer or more tokens than a decoder's function has, where its graph leaves their number open.
        kernels: whether lilims-kernels multiplies quantised weights where it is installed; None means as the settings
            say (`LILIMS_KERNELS`).

    Attributes:
        any_count: whether any number of tokens is taken.
        overflows: after a prediction with "fp16", names of the ops whose results are not finite although their
            inputs are; those of a pipeline as MEMBER/OP.
        underflows: the share of each op's results that became 0, where that is any.

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
        if threads is not None and not 1 <= threads <= _MOST_THREADS:
            raise UsageError(f"threads must be 1 to {_MOST_THREADS}, not {threads}")
        options = Options(precision, threads, fused, cache, trace, kernels_library(kernels))
        self._runnables = open_package(Path(model), options)
        self._package = self._runnables.package
        self.precision: Precision = precision
        self._runner: FunctionRunner | Pipeline
        if self._package.members:
            self.function_name = _no_function(function_name)
            self._runner = open_pipeline(self._package, options)
        else:
            self.function_name = function_name or self._runnables.default_function
            self._runner = FunctionRunner(self._runnables, self.function_name, any_count=any_count)
        self._interface = self._runner.interface
        if not skip_model_load:
            self._runner.load()

    # -- running -----------------------------------------------------------------------------------------------------

    def predict(self, data: Any, state: MLState | None = None, *, time_limit: float | None = None) -> Any:
        """Runs the function once, or once for each dictionary of a list.

        Args:
            data: input name to array; float64 and float16 become float32, integers where that is exact. Untouched.
                An image is a PIL image.
            state: what `make_state` gave; needed by a function that has states, and updated by it.
            time_limit: seconds after which one run is given up: a `while_loop` may have no end, and no signal is heard
                while the program computes. States may be written in part then.

        Returns:
            output name to array (fp16 as float32, a scalar as shape [1]), or a list of such dictionaries. A classifier
            gives a label (str or int) and a dictionary of probabilities by label. An image is a PIL image.

        Raises:
            UsageError: an input is missing, unknown or does not fit, or the state is missing or another package's.
            ExecutionError: the program failed, took longer than `time_limit`, or ONNX Runtime refused it.
        """
        if isinstance(data, list):
            if state is not None:
                raise UsageError("a list of inputs cannot share one state", hint="call predict once for each")
            return [self.predict(item, time_limit=time_limit) for item in data]
        if not isinstance(data, Mapping):
            raise UsageError(f"inputs are a dictionary, not {type(data).__name__}")
        return self._runner.predict(data, self._check_state(state), time_limit)

    def make_state(self) -> MLState:
        """New states for this package's functions, all zeros."""
        return MLState(StateBuffers(self._runner.states))

    def end_trace(self) -> Path:
        """Ends profiling of the graph that this function is part of: the file written, in Chrome's trace format.

        Raises:
            UsageError: the model was made without `trace`.
        """
        return self._runner.end_trace()

    def _check_state(self, state: MLState | None) -> StateBuffers | None:
        needed = self._runner.needed
        if not needed:
            return None
        if not isinstance(state, MLState):
            who = f"the function {self.function_name!r}" if self.function_name else "the pipeline"
            raise UsageError(f"{who} needs a state", hint="pass state=model.make_state()")
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
        """The functions of the package; none of a pipeline."""
        return () if self._package.members else tuple(self._runnables.functions)

    @property
    def any_count(self) -> bool:
        """Whether any number of tokens is taken."""
        return self._runner.any_count

    @property
    def overflows(self) -> list[str]:
        """Ops of the last call whose results left fp16's range first, in order; with precision "fp16"."""
        return self._runner.overflows

    @property
    def underflows(self) -> dict[str, float]:
        """Op → share of its nonzero results that became 0 in the last call; with precision "fp16"."""
        return self._runner.underflows

    @property
    def package_path(self) -> str:
        """The package's folder."""
        return str(self._package.path)

    @property
    def input_description(self) -> FeatureDescriptions:
        """Name → description of each input."""
        return self._interface.input_description

    @property
    def output_description(self) -> FeatureDescriptions:
        """Name → description of each output."""
        return self._interface.output_description

    @property
    def state_description(self) -> FeatureDescriptions:
        """Name → description of each state."""
        return self._interface.state_description

    @property
    def user_defined_metadata(self) -> dict[str, str]:
        """A copy of the package's own keys and values."""
        return dict(self._package.spec.description.metadata.userDefined)

    @property
    def short_description(self) -> str:
        """What its author says it does; empty if nothing."""
        return str(self._package.spec.description.metadata.shortDescription)

    @property
    def author(self) -> str:
        """Who made it; empty if not said."""
        return str(self._package.spec.description.metadata.author)

    @property
    def license(self) -> str:
        """Its licence; empty if not said."""
        return str(self._package.spec.description.metadata.license)

    @property
    def version(self) -> str:
        """Its version; empty if not said."""
        return str(self._package.spec.description.metadata.versionString)

    def __repr__(self) -> str:
        return f"MLModel({self.package_path!r}, function_name={self.function_name!r}, precision={self.precision!r})"


def _no_function(name: str | None) -> str:
    if name:
        raise UsageError(f"the package is a pipeline: it has no function {name!r}", hint="leave the function out")
    return ""
