"""Models by name: the built-in one, what is installed, and the commands that put everything together.

Knows nothing itself: names are loaded from their modules when they are first used, so that importing this is cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .names import BUILTIN, builtin_checkpoint, resolve

__all__ = ["BUILTIN", "builtin_checkpoint", "resolve"]

_HOMES = {"BUILTIN": "names", "builtin_checkpoint": "names", "resolve": "names"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
