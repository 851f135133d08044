"""What a conversion will write, from shapes alone.

Knows the arithmetic of stored forms. Must not know values: what depends on them (equal tensors, which are stored once)
is counted as if it were not so.
"""

from __future__ import annotations

import shutil
from collections.abc import Container
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lilims.core.console import bytes_text
from lilims.core.errors import StorageError

from ..policy.plan import Plan
from ..quantize import Scheme
from ..shapes import Shapes
from ..spec import DecoderSpec
from ..stored import Dense, Indexed, Palettized, Quantized, Stored
from .placing import Placed, place
from .tensors import padded
from .weight_file import WeightFile

__all__ = ["check_space", "form_of", "package_size", "place_all"]

_PROGRAM = 40_000  # bytes of model.mlmodel for a layer of a function; more than any architecture takes


def form_of(scheme: Scheme, shape: tuple[int, ...]) -> Stored:
    """The stored form of a tensor of this shape, without values (`placing.outline`)."""

    def empty(dtype: Any, *sizes: int) -> NDArray[Any]:
        return np.broadcast_to(np.zeros((), dtype), sizes)

    taken = scheme.fitted(shape)
    if taken.kind == "fp16":
        return Dense(empty(np.float16, *shape))
    rows, width = shape
    if taken.kind == "lut" and taken.group is not None:
        scale = empty(np.float16, rows, width // taken.group)
        table = empty(np.float16, 1, 1 << taken.bits)
        return Indexed(empty(np.uint8, rows, width), table, scale, scale if taken.asymmetric else None)
    if taken.kind == "lut":
        tables = empty(np.float16, rows // (taken.rows or rows), 1 << taken.bits)
        return Palettized(empty(np.uint8, rows, width), tables, taken.bits)
    scale = empty(np.float16, rows, width // (taken.group or width))
    codes = empty(np.uint8 if taken.asymmetric else np.int8, rows, width)
    return Quantized(codes, scale, taken.bits, scale if taken.asymmetric else None)


def place_all(
    file: WeightFile, spec: DecoderSpec, plan: Plan, roles: Container[str] | None = None
) -> dict[str, Placed]:
    """Every tensor of a model, or those with these roles, in a file that only counts, as a conversion places them."""
    found = {}
    for role, shape in spec.roles():
        if roles is not None and role not in roles:
            continue
        target = padded(role, shape, plan.multiple_of(role))
        found[role] = place(file, target[0], [form_of(plan.scheme_of(role), target)])
    return found


def package_size(spec: DecoderSpec, plan: Plan, shapes: Shapes) -> int:
    """Bytes of a package: those of weight.bin, and roughly, rather too many, those of the program."""
    with WeightFile(None) as counted:
        place_all(counted, spec, plan)
        return counted.size + _PROGRAM * (len(spec.layers) + 1) * len(shapes.functions)


def check_space(out: Path, needed: int) -> None:
    """Refuses to begin what the disk cannot hold.

    Raises:
        StorageError: there is less room than that where `out` is to be made.
    """
    place = next((p for p in out.absolute().parents if p.is_dir()), None)
    if place is None:
        return
    free = shutil.disk_usage(place).free
    if free < needed:
        raise StorageError(
            f"the disk has {bytes_text(free)} free, the model takes {bytes_text(needed)}",
            where=out,
            hint="free some space or choose another place with -o",
        )
