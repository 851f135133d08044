"""The local log file: rotating, without prompts.

Knows the standard library's logging. Must not print anything.
"""

from __future__ import annotations

import logging
import logging.handlers

from .errors import UsageError
from .paths import log_file
from .settings import settings

__all__ = ["setup"]

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "off": logging.CRITICAL + 1,
}


def setup(verbosity: int = 0) -> None:
    """Sends the `lilims` loggers to the log file. `verbosity` (-q is −1, -v is 1) shifts the level of `LILIMS_LOG`.

    A log that cannot be written is no reason to fail: the handler is then left out.
    """
    name = settings().log.lower()
    if name not in _LEVELS:
        raise UsageError(f"LILIMS_LOG must be one of {', '.join(_LEVELS)}, not {name!r}")
    logger = logging.getLogger("lilims")
    logger.propagate = False
    logger.setLevel(max(logging.DEBUG, _LEVELS[name] - 10 * verbosity))
    ours = (logging.handlers.RotatingFileHandler, logging.NullHandler)
    if name == "off" or any(isinstance(handler, ours) for handler in logger.handlers):
        return
    try:
        path = log_file()
        path.parent.mkdir(parents=True, exist_ok=True)
        handler: logging.Handler = logging.handlers.RotatingFileHandler(
            path, maxBytes=1 << 20, backupCount=2, encoding="utf-8", delay=True
        )
    except OSError:
        handler = logging.NullHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger.addHandler(handler)
