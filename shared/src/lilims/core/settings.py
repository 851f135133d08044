"""Every setting and environment variable of lilims, in one place.

    flag > LILIMS_<NAME> in the environment > [lilims] table of the config file > default

Knows names, types and defaults. Must not know what a setting is used for, nor read anything else from the environment.
The config file is `config.toml` in the platform's configuration folder (LILIMS_CONFIG overrides its path).
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from .errors import UsageError

__all__ = ["Settings", "settings"]


@dataclass(frozen=True)
class Settings:
    """The settings in force. Each field `x` is also `LILIMS_X` in the environment and `x` in the config file."""

    home: str = ""
    """Folder of converted models; empty means platformdirs' data folder."""
    log: str = "warning"
    """Level of the local log file: debug, info, warning, error or off."""
    debug: bool = False
    """Show tracebacks."""
    threads: int = 0
    """Threads of the portable executor; 0 means the machine's physical cores."""
    offline: bool = False
    """Never use the network, not even for a model that is named by its place on a hub."""
    cache_gb: int = 16
    """Gigabytes that the portable executor's graphs and packed weights may take on disk; 0 keeps none."""
    quota_gb: int = 0
    """Gigabytes that models, downloads and caches may take together; 0 means no limit."""
    max_model_gb: int = 1
    """Gigabytes that one pulled or imported model may have; 0 means any number."""
    registry: str = ""
    """The registry of models that `lilims pull NAME` asks; empty means registry.yaml below the home."""
    kernels: bool = True
    """Multiply quantised weights with lilims-kernels where it is installed; off means with ONNX Runtime alone."""
    memory_mb: int = 0
    """Megabytes that a model may take; 0 means what the machine has available, -1 is not to check."""
    executor: str = "auto"
    """auto, coreml or portable."""
    api_key: str = ""
    """The key that `lilims serve` asks for, and that `lilims ps` gives; empty means none."""
    telemetry: bool = True
    """Record what `lilims telemetry on` switched on; off records nothing, whatever was switched on."""
    telemetry_days: int = 90
    """Days that telemetry keeps its records."""
    telemetry_mb: int = 16
    """Megabytes that telemetry's file may take."""
    agent: str = ""
    """The name under which `lilims tasks` claims work."""
    claims_prefix: str = ""
    """Prefix of claim refs; empty means what specs/protocol.toml says."""


_LEAST = {"memory_mb": -1, "telemetry_days": 1, "telemetry_mb": 1}
"""The least value of whole numbers for which it is not 0."""
_TRUE, _FALSE = {"1", "true", "yes", "on"}, {"", "0", "false", "no", "off"}


def _parse(name: str, kind: Any, raw: Any, where: str) -> Any:
    wanted = {"bool": "a truth value", "int": "a whole number", "str": "text"}[kind]
    if kind == "bool" and isinstance(raw, str) and raw.lower() in _TRUE | _FALSE:
        return raw.lower() in _TRUE
    if kind == "int" and isinstance(raw, str) and re.fullmatch(r"\s*-?[0-9]{1,18}\s*", raw):
        return int(raw)
    if isinstance(raw, {"bool": bool, "int": int, "str": str}[kind]) and not (kind == "int" and isinstance(raw, bool)):
        return raw
    raise UsageError(f"{name} must be {wanted}, not {raw!r}", where=where)


def _checked(key: str, name: str, kind: Any, raw: Any, where: str) -> Any:
    """The value of a setting; `name` is what the user calls it there."""
    value = _parse(name, kind, raw, where)
    if kind == "int" and value < (least := _LEAST.get(key, 0)):
        raise UsageError(f"{name} must be {least} or more, not {value}", where=where)
    return value


def load(environ: Mapping[str, str], config: Path | None) -> Settings:
    """Reads the settings from an environment and a config file (None, or absent: none).

    Raises:
        UsageError: a value is not of its type or too small, a key is unknown, or the file is not TOML.
    """
    kinds = {f.name: str(f.type) for f in fields(Settings)}
    values: dict[str, Any] = {}
    if config is not None and config.is_file():
        try:
            table = tomllib.loads(config.read_text("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
            raise UsageError(f"not valid TOML: {exc}", where=config) from exc
        except OSError as exc:
            raise UsageError(f"cannot be read: {exc.strerror}", where=config) from exc
        section = table.get("lilims", table)
        if not isinstance(section, dict):
            raise UsageError("`lilims` is not a table", where=config, hint="write [lilims] and the settings below it")
        for key, raw in section.items():
            if key not in kinds:
                raise UsageError(f"unknown setting {key!r}", where=config, hint=f"known: {', '.join(kinds)}")
            values[key] = _checked(key, key, kinds[key], raw, str(config))
    for key, kind in kinds.items():
        variable = f"LILIMS_{key.upper()}"
        if variable in environ:
            values[key] = _checked(key, variable, kind, environ[variable], "environment")
    return Settings(**values)


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process, read once."""
    from .paths import config_file

    return load(os.environ, config_file())
