"""GGUF files as checkpoints: their metadata as a config, their tensors by role, their codes kept."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .checkpoint import GGUFCheckpoint, is_gguf

__all__ = ["GGUFCheckpoint", "is_gguf"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(".checkpoint", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
