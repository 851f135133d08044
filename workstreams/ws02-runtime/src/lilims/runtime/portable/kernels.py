"""The optional library of quantised products, lilims-kernels: whether it is there and can be used.

Knows that it is found by name, since nothing depends on it. Must not know its ops (fusion/native.py does). Without it,
or with `LILIMS_KERNELS=0`, ONNX Runtime's own block kernels are used.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from importlib import import_module
from pathlib import Path

from .session import onnxruntime_module

__all__ = ["ABI", "kernels_library", "kernels_state"]

ABI = 1
"""What `lilims.kernels.ABI` has to be."""


def kernels_library(wanted: bool | None = None) -> Path | None:
    """The library that sessions register; None where it is not wanted or cannot be used.

    Args:
        wanted: None means as the settings say.
    """
    if wanted is None:
        from lilims.core.settings import settings

        wanted = settings().kernels
    return _found()[0] if wanted else None


def kernels_state() -> tuple[bool, str]:
    """Whether the library can be used, and its kind of products or the reason why not."""
    path, text = _found()
    return path is not None, text


@lru_cache(maxsize=1)
def _found() -> tuple[Path | None, str]:
    try:
        package = import_module("lilims.kernels")
    except ImportError:
        return None, "not installed"
    try:
        if package.ABI != ABI:
            return None, f"its ops are of version {package.ABI}, not {ABI}"
        path = Path(package.library())
        onnxruntime_module().SessionOptions().register_custom_ops_library(str(path))
        state = str(package.features())
    except Exception as exc:  # ONNX Runtime's exceptions share no base class; a library that fails is not used
        _LOG.warning("lilims-kernels is installed and cannot be used: %s", exc)
        return None, f"cannot be used: {exc}"
    _LOG.info("lilims-kernels: %s, %s", state, path)
    return path, state


_LOG = logging.getLogger(__name__)
