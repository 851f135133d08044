"""The portable executor behind the runtime's interface.

Knows `lilims.runtime.portable.MLModel`. Must not know what a package computes.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from .executor import ExecutorFunction, ExecutorName, Precision

if TYPE_CHECKING:
    from .portable.model import MLModel, MLState

__all__ = ["PortableExecutor"]


class PortableExecutor:
    """Runs a package with ONNX Runtime. Calls on one state take turns (see `portable.MLState`)."""

    name: ExecutorName = "portable"
    warms_up = False

    def __init__(self, package: Path, *, precision: Precision, threads: int | None) -> None:
        self._package = package
        self._precision = precision
        self._threads = threads
        self._models: dict[str, MLModel] = {}
        self._loading = threading.Lock()

    def function(self, name: str) -> ExecutorFunction:
        return self._load(name)

    def make_state(self) -> MLState:
        with self._loading:
            anyone = next(iter(self._models.values()), None)
        return (anyone or self._load(None)).make_state()

    def adopt(self, state: MLState, own: MLState | None) -> MLState:
        """The state itself: its buffers serve any package whose state has the same shape."""
        return state

    def _load(self, name: str | None) -> MLModel:
        from .portable.model import MLModel

        with self._loading:
            if name is None:  # a state needs the description only
                return MLModel(self._package, skip_model_load=True)
            if name not in self._models:
                self._models[name] = MLModel(
                    self._package, function_name=name, precision=self._precision, threads=self._threads
                )
            return self._models[name]
