"""A model in memory: who uses it, until when it stays, its caches.

Knows one loaded model. Must not know names, nor which others are loaded.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .caches import Caches
from .request import EngineSettings, Request

if TYPE_CHECKING:
    from lilims.runtime import Model
    from lilims.runtime.sampling import Constraint

__all__ = ["LoadedModel", "constraint_of", "load_model"]

_SHARE = 4  # of the memory that is available, one in this many may be caches


class LoadedModel:
    """A model in memory.

    Attributes:
        name: what clients call it.
        model: the runtime's.
        caches: its sessions; for the scheduler's thread alone.
        users: requests that use it now; while there are any it stays.
        expires: `time.monotonic()` at which it may go; None never.
        cache_bytes: what one session takes at full length.
    """

    def __init__(self, name: str, model: Model, settings: EngineSettings) -> None:
        self.name = name
        self.model = model
        self.cache_bytes = math.prod(model.manifest.state.shape) * (2 if model.executor == "coreml" else 4)
        most = min(settings.parallel, max(1, _budget(settings) // self.cache_bytes))
        self.caches = Caches(model.session, most, _slice(model, settings.slice_tokens))
        self.users = 0
        self.loaded_at = time.time()
        self._keep_alive = settings.keep_alive
        self.expires: float | None = None
        self.touch()

    def touch(self) -> None:
        """It was used now."""
        self.expires = None if self._keep_alive < 0 else time.monotonic() + self._keep_alive

    def retire(self) -> None:
        """It goes as soon as nobody uses it."""
        self._keep_alive = 0.0
        self.touch()

    @property
    def expired(self) -> bool:
        return self.users == 0 and self.expires is not None and time.monotonic() >= self.expires

    def as_dict(self) -> dict[str, Any]:
        """What `lilims ps` shows."""
        manifest = self.model.manifest
        left = None if self.expires is None else max(0.0, self.expires - time.monotonic())
        return {
            "name": self.name,
            "version": manifest.version,
            "executor": self.model.executor,
            "context": self.model.context,
            "weight_bytes": sum(entry.bytes for file, entry in manifest.files.items() if file.endswith("weight.bin")),
            "caches": len(self.caches),
            "most_caches": self.caches.most,
            "cache_bytes": self.cache_bytes,
            "requests": self.users,
            "expires_in": None if self.users else left,
        }


def load_model(name: str, folder: Path | None, settings: EngineSettings) -> LoadedModel:
    """Loads a model and the functions that generating takes; no folder is the built-in one, made now if need be.

    A context in the settings bounds that of each model: one whose own is smaller keeps it.

    Raises:
        LilimsError: as `lilims.runtime.load`, `Model.prepare` and `lilims.models.resolve`.
    """
    from lilims.core.manifest import read_manifest
    from lilims.models import resolve
    from lilims.runtime import load

    place, options = resolve() if folder is None else folder, _options(settings.load)
    if "context" in options:
        options["context"] = min(options["context"], read_manifest(place).context)
    model = load(place, **options)
    model.prepare()
    return LoadedModel(name, model, settings)


def constraint_of(model: Model, request: Request) -> Constraint | None:
    """What the text must be.

    Raises:
        ConstraintError: a schema, expression or grammar is invalid or not supported.
        MissingDependencyError: llguidance is not installed.
    """
    wanted = {"json_schema": request.json_schema, "regex": request.regex, "grammar": request.grammar}
    chosen = [(kind, value) for kind, value in wanted.items() if value is not None]
    if not chosen:
        return None
    from lilims.runtime import constrained

    kind, value = chosen[0]
    make = getattr(constrained, kind)
    made: Constraint = make(value, model.tokenizer, end_ids=sorted(model.stop_ids))
    return made


def _options(load: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in load.items() if value is not None}


def _budget(settings: EngineSettings) -> int:
    if settings.cache_bytes is not None:
        return settings.cache_bytes
    from lilims.runtime.machine import memory_limit

    return (memory_limit() or 0) // _SHARE


def _slice(model: Model, wanted: int) -> int:
    """Tokens of a prompt that a turn runs: what a call takes anyway where calls are padded."""
    session = model.session()
    return session.piece if session.padded else min(wanted, session.piece)
