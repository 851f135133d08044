"""Names of schemes: how a tensor is asked to be stored, and what becomes of that for a shape that does not fit.

Knows the grammar and the arithmetic of sizes. Must not know values of tensors.

    scheme   = keep | fp16 | integer | table
    keep     = the codes that the checkpoint has (GGUF only); each tensor's own scheme takes its place
    integer  = int4 or int8, then in this order, each optional:
               -asym                  unsigned codes with an offset, so that both ends of a block are used
               -g16 -g32 -g64 -g128   values along the input that share a scale; else what --group-size says
               -channel               one scale for each output channel instead
               -rtn -search           how scales and codes are chosen; else rounding to nearest, search where there is
               -gptq -awq             an importance matrix, gptq where there is a text to calibrate on
    table    = lut2, lut3, lut4, lut6 or lut8, one table for the tensor, or with -r4 -r8 -r16 -r32 for so many
               output channels; then, optional,
               -kmeans or -gptq       how indices are chosen; else the nearest, or gptq where there is a text
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

__all__ = ["GRAMMAR", "GROUP_SIZES", "TABLE_ROWS", "Method", "Scheme", "choose_group", "parse_scheme"]

GROUP_SIZES = (16, 32, 64, 128)
"""How many values along the input may share a scale."""
TABLE_ROWS = (4, 8, 16, 32)
GRAMMAR = (
    "keep, fp16, int4 or int8 [-asym] [-g16|-g32|-g64|-g128|-channel] [-rtn|-search|-gptq|-awq], "
    "lut2|3|4|6|8 [-r4|-r8|-r16|-r32] [-kmeans|-gptq]"
)
"""How a scheme is spelt, in one line for messages."""

_INTEGER = re.compile(r"int([48])(-asym)?(?:-g(16|32|64|128)|(-channel))?(?:-(rtn|search|gptq|awq))?")
_TABLE = re.compile(r"lut([23468])(?:-r(4|8|16|32))?(?:-(kmeans|gptq))?")

Method = Literal["rtn", "search", "gptq", "awq", "kept"]


@dataclass(frozen=True)
class Scheme:
    """How one tensor is asked to be stored.

    Attributes:
        kind: fp16 values, integer codes with scales, or indices into tables; keep stands for what the checkpoint has.
        bits: of a value, a code or an index.
        asymmetric: each scale has an offset; codes are unsigned then (integers, and tables with scales).
        group: values along the input that share a scale; None is one scale for each output channel (integers only).
        rows: output channels that share a table; None is one table for the tensor (tables only).
        method: round to nearest with scales that use the whole range of codes (of tables: to the nearest value),
            scales found by search, rounding in view of what enters the matrix (gptq), input channels scaled in view
            of it before that search (awq), or codes and scales of the checkpoint.
    """

    kind: Literal["fp16", "int", "lut", "keep"]
    bits: int = 16
    asymmetric: bool = False
    group: int | None = None
    rows: int | None = None
    method: Method = "rtn"

    def __str__(self) -> str:
        """The scheme in the grammar above, nothing left to a default."""
        if self.kind in ("fp16", "keep"):
            return self.kind
        if self.kind == "lut" and self.group:  # codes that are kept; no text asks for it
            return f"lut{self.bits}{'-asym' if self.asymmetric else ''}-g{self.group}-{self.method}"
        if self.kind == "lut":
            return f"lut{self.bits}" + (f"-r{self.rows}" if self.rows else "") + _suffix(self.method)
        spread = f"-g{self.group}" if self.group else "-channel"
        return f"int{self.bits}{'-asym' if self.asymmetric else ''}{spread}-{self.method}"

    @property
    def title(self) -> str:
        """The scheme as people ask for it: without its group, and without -rtn."""
        if self.kind != "int":
            return str(self)
        spread = "" if self.group else "-channel"
        return f"int{self.bits}{'-asym' if self.asymmetric else ''}{spread}{_suffix(self.method)}"

    def fitted(self, shape: tuple[int, ...]) -> Scheme:
        """What a tensor of this shape takes instead, or this very scheme where it fits.

        Anything but a matrix is fp16. A width that the group does not divide takes the next smaller group that does,
        else 8 bits with one scale for each output channel. Rows that do not fill groups take smaller groups, else one
        table.
        """
        if self.kind == "fp16" or len(shape) != 2:
            return Scheme("fp16")
        if self.kind == "lut" and self.rows is not None:
            rows = next((r for r in reversed(TABLE_ROWS) if r <= self.rows and shape[0] % r == 0), None)
            return replace(self, rows=rows)
        if self.kind == "int" and self.group is not None:
            group = choose_group(shape[1], self.group)
            return replace(self, group=group) if group in GROUP_SIZES else replace(self, group=None, bits=8)
        return self


def _suffix(method: Method) -> str:
    return f"-{method}" if method in ("search", "gptq", "awq") else ""


def choose_group(width: int, wanted: int) -> int:
    """The largest group size of at most `wanted` that divides `width`; `width` (per channel) when none does."""
    return next((g for g in reversed(GROUP_SIZES) if g <= wanted and width % g == 0), width)


def parse_scheme(text: str, group_size: int = 32, method: Method = "rtn") -> Scheme:
    """The scheme that a text names.

    Args:
        text: as the grammar has it.
        group_size: the group of an integer scheme that names none.
        method: how a scheme that does not say so chooses scales and codes; tables know gptq alone.

    Raises:
        ValueError: no such scheme.
    """
    if text in ("fp16", "keep"):
        return Scheme("fp16" if text == "fp16" else "keep")
    if found := _TABLE.fullmatch(text):
        how: Method = "gptq" if (found[3] or method) == "gptq" else "rtn"
        return Scheme("lut", int(found[1]), rows=int(found[2]) if found[2] else None, method=how)
    if found := _INTEGER.fullmatch(text):
        bits, group = int(found[1]), None if found[4] else int(found[3] or group_size)
        methods: dict[str | None, Method] = {name: name for name in ("search", "rtn", "gptq", "awq")}
        return Scheme("int", bits, bool(found[2]), group, method=methods.get(found[5], method))
    raise ValueError(f"{text!r} is not a scheme")
