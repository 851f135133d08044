"""Chat in the terminal, the OpenAI-compatible server and the web page.

    from lilims.ui import Engine, create_app
    app = create_app(Engine())      # an ASGI application, for uvicorn or any other server

Knows nothing itself: names are loaded from their modules when they are first used, so that importing this is cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .app import create_app
    from .engine import Engine, EngineSettings, Job, Request
    from .security import Access

__all__ = ["Access", "Engine", "EngineSettings", "Job", "Request", "create_app"]

_HOMES = {
    "Access": "security",
    "Engine": "engine",
    "EngineSettings": "engine",
    "Job": "engine",
    "Request": "engine",
    "create_app": "app",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
