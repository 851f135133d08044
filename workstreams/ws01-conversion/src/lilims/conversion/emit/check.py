"""Loads a package back through coremltools' milproto frontend, whose type inference then checks every op.

Knows coremltools' loader. Must not know what the package computes; running it is the executor's part.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from .._quiet import quiet_coremltools

__all__ = ["load_back"]


def load_back(package: Path) -> Any:
    """The package as a coremltools `Program`.

    Raises:
        ValueError: coremltools does not accept an op (its own message).
    """
    with quiet_coremltools():
        from coremltools.converters.mil.frontend.milproto.load import load
        from coremltools.proto import Model_pb2

        data = package / "Data" / "com.apple.CoreML"
        spec = Model_pb2.Model()
        spec.ParseFromString((data / "model.mlmodel").read_bytes())
        return load(spec, spec.specificationVersion, os.fspath(data / "weights"))
