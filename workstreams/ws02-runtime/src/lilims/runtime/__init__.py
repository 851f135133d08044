"""Runs decoder packages: through Core ML on macOS, through the portable executor everywhere.

    from lilims.runtime import load
    for text in load("model").generate("Once upon a time", max_tokens=100):
        print(text, end="", flush=True)

Knows nothing itself: names are loaded from their modules when they are first used, so that importing this is cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .executor import Executor, ExecutorFunction, choose
    from .generation import Token
    from .model import Model, load
    from .sampling import Sampler, SamplingParameters
    from .session import Session
    from .statistics import FinishReason, Statistics

__all__ = [
    "Executor",
    "ExecutorFunction",
    "FinishReason",
    "Model",
    "Sampler",
    "SamplingParameters",
    "Session",
    "Statistics",
    "Token",
    "choose",
    "load",
]

_HOMES = {
    "Executor": "executor",
    "ExecutorFunction": "executor",
    "FinishReason": "statistics",
    "Model": "model",
    "Sampler": "sampling",
    "SamplingParameters": "sampling",
    "Session": "session",
    "Statistics": "statistics",
    "Token": "generation",
    "choose": "executor",
    "load": "model",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
