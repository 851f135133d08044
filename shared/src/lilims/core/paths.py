"""Where lilims keeps things.

Knows folders. Must not create them: whoever writes does. `LILIMS_HOME` moves everything below one folder.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cache_dir", "config_file", "home", "log_file", "models_dir", "state_dir"]


def home() -> Path:
    """The folder of all data: `LILIMS_HOME`, else platformdirs' user data folder."""
    from .settings import settings

    if settings().home:
        return Path(settings().home).expanduser()
    from platformdirs import user_data_path

    return user_data_path("lilims", appauthor=False)


def models_dir() -> Path:
    """The folder of converted models."""
    return home() / "models"


def state_dir() -> Path:
    """The folder of what is noted about installed models: when they were used, which are kept."""
    return home() / "state"


def cache_dir() -> Path:
    """The folder of what can be made again: compiled models, lowered graphs."""
    return home() / "cache"


def log_file() -> Path:
    """The rotating local log."""
    return home() / "logs" / "lilims.log"


def config_file() -> Path:
    """The config file: `LILIMS_CONFIG`, else config.toml in platformdirs' configuration folder."""
    if override := os.environ.get("LILIMS_CONFIG"):
        return Path(override).expanduser()
    from platformdirs import user_config_path

    return user_config_path("lilims", appauthor=False) / "config.toml"
