"""Many generations at once on few models: names, loading, one scheduler, caches that share beginnings.

    async with Engine() as engine:
        job = await engine.submit(Request(model="stories", prompt="Once upon a time", max_tokens=20))
        async for token in job:
            print(token, end="")

Must not know HTTP, nor any protocol: `lilims.ui.api` and the web page are its users.
"""

from __future__ import annotations

from .cards import Card
from .engine import Engine
from .errors import EngineError, QueueFullError, StalledError, StoppedError, UnknownModelError
from .job import Job
from .request import EngineSettings, Request

__all__ = [
    "Card",
    "Engine",
    "EngineError",
    "EngineSettings",
    "Job",
    "QueueFullError",
    "Request",
    "StalledError",
    "StoppedError",
    "UnknownModelError",
]
