"""A function as an ONNX file of its own, which plain ONNX Runtime runs: weights inside, no op or file of ours.

`interface.py` gives inputs, outputs and states their names, `weights.py` says how weights lie in the file, `file.py`
writes it; `exporter.py` is the order of it all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .exporter import OnnxExport, export_onnx

__all__ = ["OnnxExport", "export_onnx"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(".exporter", __name__), name)
