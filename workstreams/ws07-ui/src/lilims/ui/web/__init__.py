"""The web chat: a page, its API, conversations in one SQLite file.

    chat = Web.of(engine)       # chat.routes() go into an application, `async with chat` around its life

Knows nothing itself: names are loaded from their modules when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .store import Store
    from .web import Web

__all__ = ["Store", "Web"]

_HOMES = {"Store": "store", "Web": "web"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
