"""Saves a MIL program as an .mlpackage, byte for byte the same each time.

Knows coremltools' backend and the package's layout on disk. Must not know what the program computes.
Source of the layout: `mlpackage/src/ModelPackage.cpp` in coremltools. Its own writer draws random identifiers.
"""

from __future__ import annotations

import errno
import json
import os
import uuid
from pathlib import Path
from typing import Any

__all__ = ["PASSES", "save"]

# Passes that run before serialisation, by name; none of coremltools' default pipeline. That one unpacks LUT weights,
# wraps gathers in compare/select chains and turns fp32 scales to fp16.
PASSES: tuple[str, ...] = ("common::dead_code_elimination",)

_AUTHOR = "com.apple.CoreML"
_NAMESPACE = uuid.UUID("6e1f1c1e-58ad-5b0c-9a0a-6d1c1b3e5c11")


def save(program: Any, package: Path, metadata: dict[str, str]) -> None:
    """Serialises `program` into the folder `package`, which must not exist, with user-defined metadata.

    Raises:
        OSError: the folder cannot be written; its errno says why.
    """
    import coremltools as ct
    from coremltools.converters.mil import converter

    pipeline = ct.PassPipeline.EMPTY
    pipeline.passes = list(PASSES)
    data = package / "Data" / _AUTHOR
    (data / "weights").mkdir(parents=True)
    try:
        # Not mil_convert: it writes the weights to the system's temporary folder and then copies them.
        spec, _ = converter.mil_convert_to_proto(
            program,
            "milinternal",
            "mlprogram",
            converter.ConverterRegistry,
            specification_version=ct.target.iOS18,
            export_multi_functions=True,
            pass_pipeline=pipeline,
            weights_dir=os.fspath(data / "weights"),
        )
    except RuntimeError as exc:
        if "FileWriter" in str(exc):  # its C++ writer does not say why
            _write_error(data / "weights" / "weight.bin", str(exc))
        raise
    finally:
        converter._reset_conversion_state()
    spec.description.metadata.userDefined.clear()
    spec.description.metadata.userDefined.update(metadata)
    (data / "model.mlmodel").write_bytes(spec.SerializeToString(deterministic=True))
    (package / "Manifest.json").write_text(json.dumps(_manifest(), indent=4) + "\n", "utf-8")


def _write_error(path: Path, message: str) -> None:
    """Raises what the operating system says when one goes on writing to `path`."""
    with path.open("ab") as file:
        file.write(bytes(1 << 16))
        file.flush()
        os.fsync(file.fileno())
    raise OSError(errno.EIO, message)


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
