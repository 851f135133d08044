"""A package of any kind opened by the executor that is asked: Core ML, or the portable one in its place.

Knows how either opens a function. Must not know what it computes. Decoders are opened by `lilims.runtime.load` instead,
as users do.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .rungs import Target

__all__ = ["Opened", "open_model", "open_package"]

Array = NDArray[Any]


class Opened:
    """The functions of a package, each loaded when it is first used, and their states."""

    def __init__(self, package: Path, target: Target) -> None:
        self._package = package
        self._target = target
        self._models: dict[str, Any] = {}
        self._compiled: Path | None = None

    def predict(self, function: str, inputs: dict[str, Array], state: Any = None) -> Array:
        """The output `y` of a function. Floating-point inputs are given as float32: fp16 ones are reported to crash."""
        given = {name: np.array(v, np.float32 if v.dtype.kind == "f" else np.int32) for name, v in inputs.items()}
        return np.asarray(self.model(function).predict(given, state)["y"])

    def make_state(self, function: str) -> Any:
        """A new state, all zeros, of the function's model; other functions of the package take it too."""
        return self.model(function).make_state()

    def model(self, function: str) -> Any:
        """The function, loaded."""
        if function not in self._models:
            load = self._coreml if self._target.executor == "coreml" else self._own
            self._models[function] = load(function)
        return self._models[function]

    def _own(self, function: str) -> Any:
        from lilims.runtime.portable import MLModel

        return MLModel(self._package, function_name=function, precision="fp16", threads=1)

    def _coreml(self, function: str) -> Any:
        import coremltools as ct

        if self._compiled is None:
            self._compiled = self._target.work / f"{self._package.stem}.mlmodelc"
            ct.models.utils.compile_model(str(self._package), destination_path=str(self._compiled))
        units = ct.ComputeUnit[self._target.compute_units]
        model = ct.models.CompiledMLModel(str(self._compiled), compute_units=units, function_name=function)
        if getattr(model, "_proxy", None) is None:  # coremltools only warns where a load fails
            raise RuntimeError(f"Core ML does not load {function}: coremltools gives no reason")
        return model


def open_package(package: Path, target: Target) -> Opened:
    """Opens a package; nothing is loaded yet."""
    return Opened(package, target)


def open_model(folder: Path, target: Target, **options: Any) -> Any:
    """A decoder's `lilims.runtime.Model`, run by the executor that is asked: the portable one rounds as a device does.

    Args:
        options: of `load`; a precision is the portable executor's.
    """
    from lilims.runtime import load

    if target.executor == "coreml":
        options.pop("precision", None)
        return load(folder, executor="coreml", compute_units=target.compute_units, **options)
    return load(folder, executor="portable", **{"precision": "fp16", "threads": 1, **options})
