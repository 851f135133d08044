"""Chat in the terminal, the OpenAI-compatible server and the web page.

    from lilims.ui import Engine, create_app
    app = create_app(Engine())      # an ASGI application, for uvicorn or any other server

Knows nothing itself: names are loaded from their modules when they are first used, so that importing this is cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lilims.core.lazy import lazy

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

__getattr__, __dir__ = lazy(__name__, __all__, _HOMES)
