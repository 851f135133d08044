"""The weights of a model folder's packages, by the manifest's names.

Knows the forms in which `convert` writes weights, and their names in a program. Must not know what they are compared
with.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lilims.core.manifest import Manifest
from lilims.runtime.portable.decompress import blockwise_shift_scale, lut_to_dense
from lilims.runtime.portable.package import Package
from lilims.runtime.portable.program import Argument, Constant, Op, Ref
from lilims.runtime.portable.reader import read_program

__all__ = ["Weights", "spellings"]

Floats = NDArray[np.float32]


def spellings(name: str) -> tuple[str, ...]:
    """What the value of a tensor may be called in a program; the first that is there is it."""
    plain = name.replace(".", "_")
    return plain, f"{plain}_conv", f"{plain}_values", f"{plain}_conv_values"


class Weights:
    """One tensor is in memory at a time."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._makers: dict[str, Op] = {}
        for part in manifest.packages():
            program = read_program(Package(folder / part.package))
            for function in program.functions.values():
                self._makers.update((value.name, op) for op in function.ops for value in op.outputs)

    def values(self, name: str) -> Floats | None:
        """A tensor in float32, or None where it is stored in no form that is known here."""
        op = next((self._makers[n] for n in spellings(name) if n in self._makers), None)
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
