"""Where the library of quantised products lies, for ONNX Runtime to load.

Knows the file. Must not know ONNX Runtime: lilims-runtime registers the library and falls back to ONNX Runtime's own
kernels where this package is absent.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache
from pathlib import Path

__all__ = ["ABI", "features", "library"]

ABI = 1
"""Changes whenever an op's inputs or attributes mean something else than before."""


def library() -> Path:
    """The shared library.

    Raises:
        FileNotFoundError: the package was installed without it.
    """
    for path in sorted(Path(__file__).parent.glob("lilims_kernels.*")):
        if path.suffix in (".so", ".dylib", ".dll", ".pyd"):
            return path
    raise FileNotFoundError(f"no lilims_kernels library in {Path(__file__).parent}")


@lru_cache(maxsize=1)
def features() -> str:
    """What the products are made of on this processor: avx512vnni, avxvnni, avx2, dotprod or plain."""
    name = ctypes.CDLL(str(library())).lilims_kernels_features
    name.restype = ctypes.c_char_p
    found: bytes = name()
    return found.decode()
