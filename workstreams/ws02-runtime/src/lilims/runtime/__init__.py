"""Runs decoder packages: through Core ML on macOS, through the portable executor everywhere.

    from lilims.runtime import load
    for token in load("model").generate("Once upon a time", max_tokens=100):
        print(token, end="", flush=True)

Knows nothing itself: names are loaded from their modules when they are first used, so that importing this is cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lilims.core.lazy import lazy

if TYPE_CHECKING:
    from .errors import StateLostError
    from .executor import Executor, ExecutorFunction, choose
    from .generation.events import Delegate, Token
    from .generation.profile import Profile
    from .generation.stream import Generation
    from .loading import load
    from .model import Model
    from .pool import SessionPool
    from .sampling import Sampler, SamplingParameters
    from .saved import load_session, save_session
    from .session import Session
    from .statistics import FinishReason, Statistics

__all__ = [
    "Delegate",
    "Executor",
    "ExecutorFunction",
    "FinishReason",
    "Generation",
    "Model",
    "Profile",
    "Sampler",
    "SamplingParameters",
    "Session",
    "SessionPool",
    "StateLostError",
    "Statistics",
    "Token",
    "choose",
    "load",
    "load_session",
    "save_session",
]

_HOMES = {
    "Delegate": "generation.events",
    "Executor": "executor",
    "ExecutorFunction": "executor",
    "FinishReason": "statistics",
    "Generation": "generation.stream",
    "Model": "model",
    "Profile": "generation.profile",
    "Sampler": "sampling",
    "SamplingParameters": "sampling",
    "Session": "session",
    "SessionPool": "pool",
    "StateLostError": "errors",
    "Statistics": "statistics",
    "Token": "generation.events",
    "choose": "executor",
    "load": "loading",
    "load_session": "saved",
    "save_session": "saved",
}

__getattr__, __dir__ = lazy(__name__, __all__, _HOMES)
