"""How far each stored weight is from the reference's, by name.

Knows the two forms in which `convert` writes weights, and their names in a program. Must not know logits. One tensor is
in memory at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lilims.core.manifest import Manifest, read_manifest
from lilims.runtime.portable.decompress import blockwise_shift_scale, lut_to_dense
from lilims.runtime.portable.package import Package
from lilims.runtime.portable.program import Argument, Constant, Op, Ref
from lilims.runtime.portable.reader import read_program

__all__ = ["tensor_errors"]

Floats = NDArray[np.float32]


def tensor_errors(model: Path, reference: Path) -> dict[str, float]:
    """‖w − w_ref‖ / ‖w_ref‖ of each matrix that both packages store, by the manifest's name of it.

    Left out are vectors, what is stored beside a package, and shapes that differ beyond padding.
    """
    manifest = read_manifest(model)
    mine, theirs = _Weights(model, manifest), _Weights(reference, read_manifest(reference))
    errors = {}
    for name, tensor in manifest.quantization.tensors.items():
        if len(tensor.shape) < 2:
            continue
        found, wanted = mine.values(name), theirs.values(name)
        if found is None or wanted is None or found.size != wanted.size and found.ndim != wanted.ndim:
            continue
        if found.shape != wanted.shape and found.size == wanted.size:  # a linear as a convolution
            found = found.reshape(wanted.shape)
        if found.ndim != wanted.ndim:
            continue
        common = tuple(slice(0, min(a, b)) for a, b in zip(found.shape, wanted.shape, strict=True))
        scale = float(np.linalg.norm(wanted[common].astype(np.float64)))
        if scale > 0:
            errors[name] = float(np.linalg.norm(found[common].astype(np.float64) - wanted[common])) / scale
    return errors


class _Weights:
    """The weights of a model folder's packages."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._makers: dict[str, Op] = {}
        for part in manifest.packages():
            program = read_program(Package(folder / part.package))
            for function in program.functions.values():
                self._makers.update((value.name, op) for op in function.ops for value in op.outputs)

    def values(self, name: str) -> Floats | None:
        """A tensor in float32, or None where it is stored in no form that is known here."""
        plain = name.replace(".", "_")
        op = next((self._makers[n] for n in (plain, f"{plain}_values") if n in self._makers), None)
        found = None if op is None else self._made(op)
        return None if found is None else found.astype(np.float32, copy=False)

    def _made(self, op: Op) -> Any:
        if op.type == "const":
            return self._value(op.inputs["val"])
        given = {key: self._value(arguments) for key, arguments in op.inputs.items()}
        if op.type == "constexpr_blockwise_shift_scale":
            return blockwise_shift_scale(given["data"], given["scale"], given.get("offset"))
        if op.type == "constexpr_lut_to_dense":
            return lut_to_dense(given["indices"], given["lut"])
        return None

    def _value(self, arguments: tuple[Argument, ...]) -> Any:
        for argument in arguments:
            if isinstance(argument, Constant):
                return argument.load()
            if isinstance(argument, Ref) and argument.name in self._makers:
                return self._made(self._makers[argument.name])
        return None


def by_layer(errors: dict[str, float]) -> tuple[list[str], list[str], NDArray[np.float64]]:
    """Errors as a table: layers, roles within a layer, and values [layers, roles], NaN where there is none."""
    split = dict(_layered(errors))
    layers = sorted({layer for layer, _ in split.values()})
    roles = list(dict.fromkeys(role for _, role in split.values()))
    table = np.full((len(layers), len(roles)), np.nan)
    for name, (layer, role) in split.items():
        table[layers.index(layer), roles.index(role)] = errors[name]
    return [str(layer) for layer in layers], roles, table


def _layered(errors: dict[str, float]) -> Iterator[tuple[str, tuple[int, str]]]:
    for name in errors:
        parts = name.split(".")
        if len(parts) > 2 and parts[0] == "layers" and parts[1].isdigit():
            yield name, (int(parts[1]), ".".join(parts[2:]).removesuffix(".weight"))
