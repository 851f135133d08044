"""The web chat: a page, its API, conversations in one SQLite file.

    chat = Web.of(engine)       # chat.routes() go into an application, `async with chat` around its life

Knows nothing itself: names are loaded from their modules when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lilims.core.lazy import lazy

if TYPE_CHECKING:
    from .store import Store
    from .web import Web

__all__ = ["Store", "Web"]

_HOMES = {"Store": "store", "Web": "web"}

__getattr__, __dir__ = lazy(__name__, __all__, _HOMES)
