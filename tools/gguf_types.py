"""What becomes of each type of GGUF tensors, as a table for docs/gguf.md.

    hatch run python tools/gguf_types.py

Each type is tried on 2^20 values in random blocks (numpy's PCG64, seed 7). The largest error is measured against the
dequantiser of the package gguf, in steps (what a code of one more adds); beside it is what the manifest would record.
Values of the compact form are compared with those of the safe one: the errors are those of both.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lilims.conversion.gguf.blocks import BLOCKS
from lilims.conversion.gguf.header import TYPES, TensorEntry
from lilims.conversion.gguf.kept import survey
from lilims.conversion.stored import Indexed, Quantized, Stored
from peers_gguf import gguf_files

SHAPE = (256, 4096)
HEADER = """\
| type | bits | stored as | bits | compact | bits | measured error | recorded error |
|---|---|---|---|---|---|---|---|"""


def rows() -> Iterator[str]:
    """A line of the table for each type that has codes of its own."""
    with tempfile.TemporaryDirectory() as folder:
        for name, block, size in TYPES.values():
            if name in BLOCKS:
                yield _row(name, 8 * size / block, Path(folder) / name)


def _row(name: str, bits: float, path: Path) -> str:
    raw = gguf_files().random_blocks(name, *SHAPE, seed=7)
    path.write_bytes(raw.tobytes())
    kept = survey(TensorEntry(path, name, SHAPE, 0, raw.nbytes), name)
    stored = kept.read(0, SHAPE[0])
    assert isinstance(stored, Quantized)
    off = measured(name, raw, stored)
    error = "exact" if off == 0 else f"{off:.4f} steps"
    bound = "0" if kept.error_steps == 0 else f"{kept.error_steps:.4f} steps"
    smaller, size = _compact(kept.compacted().read(0, SHAPE[0]), stored)
    return f"| {name} | {bits:g} | {stored.label} | {stored.bits:g} | {smaller} | {size} | {error} | {bound} |"


def _compact(found: Stored, stored: Quantized) -> tuple[str, str]:
    """The compact form and its bits, the table's aside, dashes where there is none. Its values are checked."""
    if not isinstance(found, Indexed):
        return "–", "–"
    assert np.array_equal(found.dequantize(), stored.dequantize())
    return found.label.removesuffix(", unverified"), f"{round(found.bits, 2):g}"


def measured(name: str, raw: NDArray[np.uint8], stored: Quantized) -> float:
    """The largest difference from gguf's values, in steps; that of float32 sums, 2^-20 steps or less, is none."""
    from gguf import GGMLQuantizationType, quants

    kind = BLOCKS[name]
    scale, bias = kind.scales(np.asarray(raw).reshape(-1, raw.size // (SHAPE[0] * SHAPE[1] // kind.size)))
    step = np.abs(np.where(scale == 0, 0 if bias is None else bias, scale)).astype(np.float64)
    step[step == 0] = 1  # groups of zeros
    wanted = quants.dequantize(raw, GGMLQuantizationType[name])
    off = np.abs(stored.dequantize().astype(np.float64) - wanted) / np.repeat(step, kind.group, axis=1).reshape(SHAPE)
    largest = float(off.max())
    return largest if largest > 2**-20 else 0.0


def table() -> str:
    """The whole table."""
    return "\n".join([HEADER, *rows()])


if __name__ == "__main__":
    sys.stdout.write(table() + "\n")
