"""Architectures, one file each, named after the `model_type` of config.json.

A file holds `ARCHITECTURE`: config → DecoderSpec, and role → checkpoint tensor. To add one, copy the nearest neighbour.
This file finds them; it must not know any of them.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lilims.core.errors import CheckpointError, UnsupportedModelError

from .base import Architecture, Config

__all__ = ["Architecture", "Config", "architecture_for", "supported"]


def supported() -> list[str]:
    """All `model_type`s that can be converted, sorted."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name not in ("base", "common"))


def architecture_for(config: Mapping[str, Any], where: Path) -> Architecture:
    """The architecture that the config's `model_type` names.

    Raises:
        CheckpointError: the config has no model_type.
        UnsupportedModelError: no such architecture here (the known ones are listed).
    """
    name = config.get("model_type")
    if not isinstance(name, str):
        raise CheckpointError("has no model_type", where=where, hint="this is not the config of a transformers model")
    if name not in supported():
        raise UnsupportedModelError(
            f"model_type {name!r} is not supported", where=where, hint=f"supported: {', '.join(supported())}"
        )
    found = importlib.import_module(f"{__name__}.{name}").ARCHITECTURE
    assert isinstance(found, Architecture)
    return found
