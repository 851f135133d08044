"""A model with some tensors of another: the reference's package, in which they stand beside its own weights.

Knows how a program names its tensors, and the specification. Must not know what is measured. Nothing of the reference
is changed: its weights are linked, and only the small specification is written anew.

    linked                  model.mlpackage/Data/com.apple.CoreML/weights/weight.bin
    new                     model.mlpackage/Data/com.apple.CoreML/weights/other.bin      values in fp16
    written anew            model.mlpackage/Data/com.apple.CoreML/model.mlmodel          constants that point there
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..weights.weight_file import WeightFile
from .sources import PackageSpec, Source
from .weights import Weights, spellings

__all__ = ["MixedSpec", "mixed"]

_SPEC = "model.mlmodel"
_BLOB = "@model_path/weights/other.bin"

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class MixedSpec(PackageSpec):
    """A folder that `mixed` made. It is not as its manifest says, and nothing of it is kept in the cache."""

    def open(self) -> Source:
        from lilims.runtime import contract
        from lilims.runtime.model import Model
        from lilims.runtime.ported import PortableExecutor
        from lilims.runtime.split import SplitExecutor
        from lilims.tokenizer import generation_defaults

        from .sources import _Package

        manifest = self.manifest

        def open_one(package: str) -> PortableExecutor:
            return PortableExecutor(self.folder / package, precision="exact", threads=self.threads)

        parts = contract.check_model(self.folder, manifest)
        executor: Any = SplitExecutor(manifest.parts, parts, open_one) if manifest.parts else open_one(manifest.package)
        shape = contract.decoder_shape(manifest, package=self.folder / manifest.package)
        defaults = generation_defaults(self.folder)
        return _Package(Model(self.folder, manifest, executor, None, shape=shape, defaults=defaults, precision="exact"))


def mixed(reference: PackageSpec, weights: Weights, names: Iterable[str], folder: Path) -> MixedSpec:
    """Makes a folder with the reference's model, but for these tensors, which are another's.

    Args:
        weights: the other's.
        names: as the manifest has them. Those that either has not, or in another shape beyond padding, stay.
        folder: it is made.
    """
    manifest, wanted = reference.manifest, list(names)
    shutil.copytree(reference.folder, folder, copy_function=_link)
    for part in manifest.packages():
        for path in sorted((folder / part.package).rglob(_SPEC)):
            _rewrite(path, wanted, weights)
    return MixedSpec(folder, reference.threads)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or one that has no links
        shutil.copy2(source, target)


def _rewrite(path: Path, names: Iterable[str], weights: Weights) -> None:
    from .._quiet import quiet_coremltools

    with quiet_coremltools():
        from coremltools import proto
    spec = proto.Model_pb2.Model()
    spec.ParseFromString(path.read_bytes())
    with WeightFile(path.parent / "weights" / "other.bin") as file:
        made = _makers(spec)
        for name in sorted(names):
            ops = next((made[value] for value in spellings(name) if value in made), [])
            shape = tuple(one.constant.size for one in ops[0].outputs[0].type.tensorType.dimensions) if ops else ()
            values = fitted(weights.values(name), shape) if ops else None
            if values is not None:
                offset = file.add("fp16", values.astype(np.float16))
                for op in ops:
                    _point(op, offset)
        file.finish()
    path.unlink()  # it may be a link to the reference's
    path.write_bytes(spec.SerializeToString(deterministic=True))


def _makers(spec: Any) -> dict[str, list[Any]]:
    """Constants by the value that they make, of every function one."""
    found: dict[str, list[Any]] = {}
    for function in spec.mlProgram.functions.values():
        for block in function.block_specializations.values():
            for op in block.operations:
                if op.type.startswith("const"):
                    found.setdefault(op.outputs[0].name, []).append(op)
    return found


def _point(op: Any, offset: int) -> None:
    """Makes an operation a constant in the other file."""
    type_, name = op.outputs[0].type, op.attributes["name"]
    kept = type(name)()
    kept.CopyFrom(name)
    op.type = "const"
    op.inputs.clear()
    op.attributes.clear()
    op.attributes["name"].CopyFrom(kept)
    value = op.attributes["val"]
    value.type.CopyFrom(type_)
    value.blobFileValue.fileName = _BLOB
    value.blobFileValue.offset = offset


def fitted(values: Floats | None, shape: tuple[int, ...]) -> Floats | None:
    """Values in a shape that differs in padding, which is zeros, or in how a linear is written, or None."""
    if values is None or values.shape == shape:
        return values
    if values.size == int(np.prod(shape)):
        return values.reshape(shape)
    if values.ndim != len(shape):
        return None
    found = np.zeros(shape, np.float32)
    common = tuple(slice(0, min(a, b)) for a, b in zip(values.shape, shape, strict=True))
    found[common] = values[common]
    return found
