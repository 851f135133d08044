"""What runs a package: the interface that both executors satisfy, and which of them is taken.

Knows platforms and settings. Must not know Core ML or ONNX: each has a file of its own (coreml.py, ported.py).
"""

from __future__ import annotations

import importlib.util
import platform
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from lilims.core.errors import MissingDependencyError, UnsupportedError, UsageError

__all__ = [
    "Choice",
    "Executor",
    "ExecutorFunction",
    "ExecutorName",
    "PackageExecutor",
    "Precision",
    "Traceable",
    "check_rows",
    "choose",
    "coreml_problem",
    "open_executor",
    "settings_choice",
]

ExecutorName = Literal["coreml", "portable"]
Choice = Literal["auto", "coreml", "portable"]
Precision = Literal["fast", "exact", "fp16"]
MINIMUM_MACOS = (15, 0)  # the contract's: stateful, multifunction ML Programs of iOS 18


class ExecutorFunction(Protocol):
    """One function of a package, ready to run."""

    def predict(self, inputs: Mapping[str, NDArray[Any]], state: Any) -> dict[str, NDArray[Any]]:
        """Runs the function once; `state` (of the same executor) is updated in place, `inputs` is left as it is.

        Floating-point inputs are float32; fp16 outputs arrive as float32.

        Raises:
            ExecutionError: the program failed.
        """


class Executor(Protocol):
    """A package opened for running. Functions are loaded when they are first asked for, and kept."""

    @property
    def name(self) -> ExecutorName:
        """Who runs the package."""

    @property
    def warms_up(self) -> bool:
        """Whether the first prediction of a function does work that a user should not have to wait for."""

    @property
    def pads(self) -> bool:
        """Whether a call must have as many tokens as its function; if not, it may have any number."""

    def function(self, name: str) -> ExecutorFunction:
        """The function of that name.

        Raises:
            ExecutionError: it cannot be loaded.
        """

    def make_state(self) -> Any:
        """A new state, all zeros, for every function of the package."""

    def read_state(self, state: Any, rows: int) -> NDArray[np.float16]:
        """A copy of the first `rows` rows of a state: fp16 [2 · layers, kv_heads, rows, head_dim], nothing lost.

        Raises:
            UsageError: the state has fewer rows.
            ExecutionError: it cannot be read.
        """

    def write_state(self, state: Any, values: NDArray[np.float16]) -> None:
        """Puts `values`, as `read_state` gives them, into the first rows; the other rows keep what they hold.

        Raises:
            UsageError: `values` do not fit the state; nothing was written.
            ExecutionError: it cannot be written.
        """


@runtime_checkable
class Traceable(Protocol):
    """An executor that can time every operator."""

    def start_trace(self, path: Path) -> None:
        """Begins a trace, which `stop_trace` writes to `path`."""

    def stop_trace(self) -> Path:
        """Writes it."""


class PackageExecutor(Executor, Protocol):
    """An executor of one package, perhaps one of several that a model is split into."""

    def adopt(self, state: Any, own: Any | None) -> Any:
        """A state of this package that holds what another package's `state` of the same shape holds.

        Args:
            own: a state of this package that may be written for it.

        Raises:
            ExecutionError: it cannot be handed over.
        """


def check_rows(shape: tuple[int, ...], values: tuple[int, ...] | int) -> None:
    """Checks that rows can be read from, or values written into, a state [2 · layers, kv_heads, R, head_dim].

    Args:
        shape: the state's.
        values: the shape of the values, or how many rows are read.

    Raises:
        UsageError: they do not fit.
    """
    heads, rows, width = shape[:-2], shape[-2], shape[-1]
    wanted = (*heads, values, width) if isinstance(values, int) else values
    fits = len(wanted) == len(shape) and (*wanted[:-2], wanted[-1]) == (*heads, width) and 0 <= wanted[-2] <= rows
    if not fits:
        raise UsageError(
            f"{list(wanted)} does not fit into a state of {list(shape)}",
            hint="what was read from one model's state fits that model's states only",
        )


def choose(wanted: Choice, precision: Precision = "fast") -> ExecutorName:
    """The executor that runs here: Core ML where it can, unless another is asked for.

    "exact" and "fp16" are precisions of the portable executor, so they choose it.

    Raises:
        UsageError: a name does not exist, or Core ML is asked for a precision that it has no choice of.
        UnsupportedError: Core ML is asked for and this is not macOS 15 or later.
        MissingDependencyError: Core ML is asked for and coremltools is not installed.
    """
    for value, known in ((wanted, ("auto", "coreml", "portable")), (precision, ("fast", "exact", "fp16"))):
        if value not in known:
            raise UsageError(f"{value!r} is not one of {', '.join(known)}")
    if wanted == "portable":
        return "portable"
    problem = coreml_problem()
    if wanted == "auto":
        return "portable" if problem or precision != "fast" else "coreml"
    if precision != "fast":
        raise UsageError(
            f"Core ML has no precision {precision!r}: it computes as the package says",
            hint="take executor='portable' for it",
        )
    if problem:
        raise problem
    return "coreml"


def settings_choice(name: str) -> Choice:
    """The setting `executor` as a choice.

    Raises:
        UsageError: it is none.
    """
    for known in ("auto", "coreml", "portable"):
        if name == known:
            return known
    raise UsageError(f"LILIMS_EXECUTOR must be auto, coreml or portable, not {name!r}")


def coreml_problem() -> UnsupportedError | MissingDependencyError | None:
    """Why Core ML cannot run packages here, or None."""
    if sys.platform != "darwin":
        return UnsupportedError("Core ML is on macOS only", hint="packages run through the portable executor here")
    version = tuple(int(part) for part in platform.mac_ver()[0].split(".")[:2] if part.isdigit())
    if version < MINIMUM_MACOS:
        return UnsupportedError(
            f"this is macOS {platform.mac_ver()[0]}; stateful packages need macOS 15",
            hint="update macOS; until then packages run through the portable executor",
        )
    if importlib.util.find_spec("coremltools") is None:
        return MissingDependencyError("coremltools is not installed", hint="pip install 'coremltools>=9'")
    return None


def open_executor(
    package: Path,
    *,
    name: ExecutorName,
    identity: Callable[[], str],
    compute_units: str,
    precision: Precision,
    threads: int | None,
) -> PackageExecutor:
    """Opens a package.

    Args:
        package: the .mlpackage.
        name: who runs it, as `choose` says.
        identity: gives a hash of the package's bytes: what is compiled from it is kept under this name.
        compute_units: for Core ML: CPU_ONLY, CPU_AND_GPU, CPU_AND_NE or ALL.
        precision: for the portable executor.
        threads: for the portable executor; None is one per physical core.
    """
    if name == "coreml":
        from .coreml import CoreMLExecutor

        return CoreMLExecutor(package, identity=identity(), compute_units=compute_units)
    from .ported import PortableExecutor

    return PortableExecutor(package, precision=precision, threads=threads, identity=identity)
