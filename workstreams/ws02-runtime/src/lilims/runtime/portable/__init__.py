"""Runs ML Programs without Core ML: reads an `.mlpackage` or `.mlmodelc`, lowers it to ONNX, runs it with ONNX Runtime.

`MLModel` is a drop-in for `coremltools.models.MLModel`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .describe import describe_package
    from .model import MLModel, MLState
    from .onnx_export import export_onnx

__all__ = ["MLModel", "MLState", "describe_package", "export_onnx"]

_HOMES = {"MLModel": "model", "MLState": "model", "describe_package": "describe", "export_onnx": "onnx_export"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
