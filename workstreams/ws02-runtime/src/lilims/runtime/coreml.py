"""Core ML behind the runtime's interface, through coremltools, on macOS.

Knows coremltools' `CompiledMLModel` and its traps. Must not know what a package computes. The tests here run against a
stand-in for coremltools: Core ML itself runs in the macOS workflow (.github/workflows/macos.yml) only.

The traps, and what is done about each:
- `MLModel(path)` compiles anew each time: a package is compiled once into the cache folder, named by the package's
  bytes and the OS build, since a compiled model serves one build only.
- A failed load is a warning and a missing proxy there; `CompiledMLModel` raises: either way an `ExecutionError` with
  the framework's words.
- `predict` writes into the dictionary it is given, and fp16 inputs are reported to crash: it gets a copy, in float32.
- A state must not outlive the model that made it, nor serve two calls at once: it is kept with its model and a lock.
"""

from __future__ import annotations

import plistlib
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lilims.core.errors import ExecutionError, LilimsError
from lilims.core.files import new_directory
from lilims.core.locks import exclusive
from lilims.core.paths import cache_dir

from .contract import STATE
from .executor import ExecutorName, check_rows
from .portable.failures import failure

__all__ = ["CoreMLExecutor", "CoreMLFunction", "CoreMLState"]

_SYSTEM_VERSION = Path("/System/Library/CoreServices/SystemVersion.plist")
_COMPILED = "model.mlmodelc"


class CoreMLState:
    """A state, the model that made it, and the lock that makes calls on it take turns."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.raw = model.make_state()
        self.lock = threading.Lock()


class CoreMLFunction:
    """One function of a compiled package."""

    def __init__(self, model: Any, where: str) -> None:
        self.model = model
        self._where = where

    def predict(self, inputs: Mapping[str, NDArray[Any]], state: CoreMLState) -> dict[str, NDArray[Any]]:
        """Runs the function once.

        Raises:
            ExecutionError: Core ML failed; the message is the framework's.
        """
        data = {name: _accepted(array) for name, array in inputs.items()}
        with state.lock:
            try:
                found = self.model.predict(data, state.raw)
            except Exception as exc:  # the bridge raises RuntimeErrors and others
                raise _failure("the prediction failed", exc, self._where) from exc
        return {name: np.asarray(array) for name, array in found.items()}


class CoreMLExecutor:
    """Runs a package through Core ML.

    Args:
        package: the .mlpackage.
        identity: a hash of its bytes.
        compute_units: CPU_ONLY, CPU_AND_GPU, CPU_AND_NE or ALL.

    Raises:
        ExecutionError: the package cannot be compiled.
    """

    name: ExecutorName = "coreml"
    warms_up = True
    pads = True

    def __init__(self, package: Path, *, identity: str, compute_units: str) -> None:
        import coremltools

        self._coremltools = coremltools
        self._package = package
        self._units = coremltools.ComputeUnit[compute_units]
        self._functions: dict[str, CoreMLFunction] = {}
        self._loading = threading.Lock()
        self._compiled = self._compile(identity)

    def function(self, name: str) -> CoreMLFunction:
        with self._loading:
            if name not in self._functions:
                self._functions[name] = self._load(name)
            return self._functions[name]

    def make_state(self) -> CoreMLState:
        with self._loading:
            anyone = next(iter(self._functions.values()), None)
        return CoreMLState((anyone or self.function("decode")).model)

    def adopt(self, state: CoreMLState, own: CoreMLState | None) -> CoreMLState:
        """A state of this package with the content of another's, copied: a state belongs to one compiled model.

        Raises:
            ExecutionError: the content cannot be read or written.
        """
        own = own or self.make_state()
        with state.lock, own.lock:
            try:
                own.raw.write_state(STATE, state.raw.read_state(STATE))
            except Exception as exc:  # RuntimeErrors of the bridge, AttributeErrors of coremltools before 9
                raise _failure("the state cannot be handed to another package", exc, str(self._package)) from exc
        return own

    def read_state(self, state: CoreMLState, rows: int) -> NDArray[np.float16]:
        """A copy of the first rows; Core ML gives the whole state, and the rows are cut out here.

        Raises:
            UsageError: the state has fewer rows.
            ExecutionError: it cannot be read.
        """
        with state.lock:
            whole = self._content(state)
        check_rows(whole.shape, rows)
        return np.array(whole[..., :rows, :], np.float16)

    def write_state(self, state: CoreMLState, values: NDArray[np.float16]) -> None:
        """Puts values into the first rows. Core ML takes whole states only: the rest is read and written back.

        Raises:
            UsageError: they do not fit.
            ExecutionError: it cannot be read or written.
        """
        with state.lock:
            whole = np.array(self._content(state))  # in the dtype that the framework reads and writes
            check_rows(whole.shape, values.shape)
            whole[..., : values.shape[-2], :] = values
            try:
                state.raw.write_state(STATE, whole)
            except Exception as exc:
                raise _failure("the state cannot be written", exc, str(self._package)) from exc

    def _content(self, state: CoreMLState) -> NDArray[Any]:
        try:
            return np.asarray(state.raw.read_state(STATE))
        except Exception as exc:  # RuntimeErrors of the bridge, AttributeErrors of coremltools before 9
            raise _failure("the state cannot be read", exc, str(self._package)) from exc

    def _compile(self, identity: str) -> Path:
        folder = cache_dir() / "coreml" / f"{identity[:32]}-{_os_build()}"
        compiled = folder / _COMPILED
        if compiled.is_dir():
            return compiled
        with exclusive(folder.with_suffix(".lock")):  # two processes compile a package once
            if not compiled.is_dir():
                with new_directory(folder, force=True) as new:
                    self._compile_into(new / _COMPILED)
        return compiled

    def _compile_into(self, target: Path) -> None:
        try:
            self._coremltools.models.utils.compile_model(str(self._package), destination_path=str(target))
        except Exception as exc:  # bare Exceptions and RuntimeErrors
            raise _failure("Core ML does not compile this package", exc, str(self._package)) from exc

    def _load(self, name: str) -> CoreMLFunction:
        where = f"{self._package}: {name}"
        try:
            model = self._coremltools.models.CompiledMLModel(
                str(self._compiled), compute_units=self._units, function_name=name
            )
        except Exception as exc:
            raise _failure("Core ML does not load this function", exc, where) from exc
        if getattr(model, "_proxy", None) is None:
            raise _failure("Core ML does not load this function", None, where)
        return CoreMLFunction(model, where)


def _accepted(array: NDArray[Any]) -> NDArray[Any]:
    """A copy that Core ML takes: float32 for floating-point values, int32 for integers, contiguous."""
    dtype = np.float32 if array.dtype.kind == "f" else np.int32
    return np.array(array, dtype, order="C", copy=True)


def _failure(what: str, cause: Exception | None, where: str) -> LilimsError:
    hint = "compute_units='CPU_ONLY' or the portable executor tell whether the package or the device is at fault"
    if cause is None:
        return ExecutionError(f"{what}: coremltools gives no reason", where=where, hint=hint)
    return failure(what, cause, where=where, hint=hint)


def _os_build() -> str:
    """The build of the operating system, such as 24A335."""
    try:
        with _SYSTEM_VERSION.open("rb") as file:
            build = str(plistlib.load(file)["ProductBuildVersion"])
    except (OSError, KeyError, plistlib.InvalidFileException) as exc:
        raise ExecutionError("the build of macOS cannot be read", where=_SYSTEM_VERSION) from exc
    return "".join(c for c in build if c.isalnum())
