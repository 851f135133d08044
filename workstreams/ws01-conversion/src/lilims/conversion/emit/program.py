"""Saves a MIL program as an .mlpackage, byte for byte the same each time.

Knows coremltools' backend and the package's layout on disk. Must not know what the program computes.
Source of the layout: `mlpackage/src/ModelPackage.cpp` in coremltools. Its own writer draws random identifiers.
"""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

from ..weights.weight_file import WeightFile

__all__ = ["PASSES", "only_function", "save", "serialize", "weights_path"]

# Passes that run before serialisation, by name: one of coremltools' default pipeline, and what its backend needs. The
# rest of that pipeline unpacks LUT weights, wraps gathers in compare/select chains and turns fp32 scales to fp16.
PASSES: tuple[str, ...] = (
    "common::dead_code_elimination",
    "mil_backend::adjust_io_to_supported_types",
    "mil_backend::sanitize_name_strings",
    "nn_backend::handle_unused_inputs",
)

_AUTHOR = "com.apple.CoreML"
_NAMESPACE = uuid.UUID("6e1f1c1e-58ad-5b0c-9a0a-6d1c1b3e5c11")


def weights_path(package: Path) -> Path:
    """Where weight.bin lies in a package."""
    return package / "Data" / _AUTHOR / "weights" / "weight.bin"


def save(program: Any, package: Path, metadata: dict[str, str], weights: WeightFile) -> None:
    """Writes a package around `weights`, its weight.bin, which is finished here; with user-defined metadata.

    Raises:
        OSError: the folder cannot be written; its errno says why.
    """
    raw = serialize(program, metadata, weights)
    weights.finish()
    (package / "Data" / _AUTHOR / "model.mlmodel").write_bytes(raw)
    (package / "Manifest.json").write_text(json.dumps(_manifest(), indent=4) + "\n", "utf-8")


def serialize(program: Any, metadata: dict[str, str], weights: WeightFile) -> bytes:
    """The bytes of model.mlmodel; constants that have no place yet are appended to `weights`."""
    from .export import export

    spec = export(program, PASSES, weights)
    spec.description.metadata.userDefined.clear()
    spec.description.metadata.userDefined.update(metadata)
    raw: bytes = spec.SerializeToString(deterministic=True)
    return raw


def only_function(package: Path, name: str) -> None:
    """Takes all other functions out of a package."""
    from coremltools import proto

    path = package / "Data" / _AUTHOR / "model.mlmodel"
    spec = proto.Model_pb2.Model()
    spec.ParseFromString(path.read_bytes())
    for other in [key for key in spec.mlProgram.functions if key != name]:
        del spec.mlProgram.functions[other]
    for index, function in reversed(list(enumerate(spec.description.functions))):
        if function.name != name:
            del spec.description.functions[index]
    spec.description.defaultFunctionName = name
    metadata = spec.description.metadata.userDefined
    for key in ("lilims.functions", "lilims.function_rows"):
        metadata[key] = json.dumps({name: json.loads(metadata[key])[name]})
    path.write_bytes(spec.SerializeToString(deterministic=True))


def _manifest() -> dict[str, Any]:
    """The package's table of contents. Identifiers only tell items apart, so they are derived, not drawn."""

    def item(path: str, description: str) -> tuple[str, dict[str, str]]:
        identifier = str(uuid.uuid5(_NAMESPACE, path)).upper()
        name = path.rsplit("/", 1)[-1]
        return identifier, {"author": _AUTHOR, "description": description, "name": name, "path": path}

    model = item(f"{_AUTHOR}/model.mlmodel", "CoreML Model Specification")
    weights = item(f"{_AUTHOR}/weights", "CoreML Model Weights")
    return {
        "fileFormatVersion": "1.0.0",
        "itemInfoEntries": dict((weights, model)),
        "rootModelIdentifier": model[0],
    }
