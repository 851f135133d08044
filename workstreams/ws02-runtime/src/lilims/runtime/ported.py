"""The portable executor behind the runtime's interface.

Knows `lilims.runtime.portable.MLModel`. Must not know what a package computes.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lilims.core.errors import UsageError

from .contract import STATE
from .executor import ExecutorFunction, ExecutorName, Precision, check_rows

if TYPE_CHECKING:
    from .portable.cache import Cache
    from .portable.model import MLModel, MLState

__all__ = ["PortableExecutor"]


class PortableExecutor:
    """Runs a package with ONNX Runtime. Calls on one state take turns (see `portable.MLState`).

    Args:
        package: the .mlpackage.
        precision: see `portable.MLModel`.
        threads: threads of one op; None is one per physical core.
        identity: gives a hash of the package's bytes, under which graphs and packed weights are kept between processes;
            None keeps nothing.
    """

    name: ExecutorName = "portable"
    warms_up = False

    def __init__(
        self,
        package: Path,
        *,
        precision: Precision,
        threads: int | None,
        identity: Callable[[], str] | None = None,
    ) -> None:
        self._package = package
        self._precision = precision
        self._threads = threads
        self._identity = identity
        self._trace: tuple[Path, Path] | None = None  # where it goes, what the profiles until then are called
        self._models: dict[str, MLModel] = {}
        self._described: MLModel | None = None  # held, or each look at a function would read the package anew
        self._pads: bool | None = None
        self._loading = threading.Lock()

    @property
    def pads(self) -> bool:
        """Whether some function takes just as many tokens as it has. They are read for it, but not opened."""
        if self._pads is None:
            names = self._load(None).function_names
            self._pads = not all(self._model(name, skip_model_load=True).any_count for name in names)
        return self._pads

    def function(self, name: str) -> ExecutorFunction:
        return self._load(name)

    def make_state(self) -> MLState:
        with self._loading:
            anyone = next(iter(self._models.values()), None)
        return (anyone or self._load(None)).make_state()

    def adopt(self, state: MLState, own: MLState | None) -> MLState:
        """The state itself: its buffers serve any package whose state has the same shape."""
        return state

    def read_state(self, state: MLState, rows: int) -> NDArray[np.float16]:
        """A copy of the first rows.

        Raises:
            UsageError: the state has fewer rows.
        """
        check_rows(state.shape(STATE), rows)
        return state.read_rows(STATE, rows)

    def write_state(self, state: MLState, values: NDArray[np.float16]) -> None:
        """Puts values into the first rows.

        Raises:
            UsageError: they do not fit.
        """
        check_rows(state.shape(STATE), values.shape)
        state.write_rows(STATE, values)

    def start_trace(self, path: Path) -> None:
        """Times every op from now on. Functions are opened anew; states stay valid. `stop_trace` writes the file.

        Raises:
            UsageError: a trace is being taken.
        """
        with self._loading:
            if self._trace is not None:
                raise UsageError("a trace is being taken", hint="stop it first")
            self._trace = path, path.with_name(f".{path.name}.{secrets.token_hex(4)}")
            self._close()

    def stop_trace(self) -> Path:
        """Writes the trace to the path that `start_trace` was given, in Chrome's trace event format.

        Raises:
            UsageError: none is being taken.
            StorageError: it cannot be written.
        """
        from .portable.trace import join_traces

        with self._loading:
            if self._trace is None:
                raise UsageError("no trace is being taken", hint="start one first")
            path, models = self._trace[0], list(self._models.values())
            self._trace = None
            self._close()
        join_traces([model.end_trace() for model in models], path)
        return path

    def _load(self, name: str | None) -> MLModel:
        with self._loading:
            if name is None:  # a state needs the description only
                if self._described is None:
                    self._described = self._model(None, skip_model_load=True)
                return self._described
            if name not in self._models:
                self._models[name] = self._model(name, skip_model_load=False)
            return self._models[name]

    def _close(self) -> None:
        self._models.clear()
        self._described = None

    def _model(self, name: str | None, *, skip_model_load: bool) -> MLModel:
        from .portable.model import MLModel

        return MLModel(
            self._package, name, skip_model_load=skip_model_load, precision=self._precision, threads=self._threads,
            cache=self._cache(), trace=self._trace[1] if self._trace else None, any_count=name is not None,
        )  # fmt: skip

    def _cache(self) -> Cache | None:
        from .portable.cache import settings_cache

        return None if self._identity is None else settings_cache(self._identity)
