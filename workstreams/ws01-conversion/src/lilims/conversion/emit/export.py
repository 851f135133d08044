"""A MIL program as the package's protobuf message, its large constants by their place in weight.bin.

Knows coremltools' exporter, which otherwise writes every constant itself and wants all of them in memory. Must not know
what the program computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import coremltools as ct
import numpy as np
from coremltools import proto
from coremltools.converters.mil import converter
from coremltools.converters.mil.backend.mil.helper import create_file_value_tensor, types_to_proto_primitive
from coremltools.converters.mil.backend.mil.load import CoreMLProtoExporter, MILProtoExporter
from coremltools.converters.mil.mil import types
from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY

from ..weights.weight_file import WeightFile
from .bank import offset_of

__all__ = ["export", "forget_names"]

_FILE_NAME = "@model_path/weights/weight.bin"


class _Exporter(MILProtoExporter):  # type: ignore[misc]  # coremltools has no types
    """Refers to constants that are written already; writes the others, zero biases for one, behind them."""

    def __init__(self, program: Any, weights: WeightFile) -> None:
        super().__init__(program, "", ct.target.iOS18)
        self._weights = weights
        self._written: dict[str, int] = {}  # by weight_id

    def create_file_value(self, var: Any) -> Any:
        place = offset_of(var.op.weight_id)
        if place is None:
            place = self._written.get(var.op.weight_id) if var.op.weight_id else None
        if place is None:
            place = self._write(var)
        return create_file_value_tensor(
            file_name=_FILE_NAME,
            offset=place,
            dim=var.val.shape,
            data_type=types_to_proto_primitive(var.sym_type.get_primitive()),
        )

    def _write(self, var: Any) -> int:
        if var.val.dtype.kind == "f" and np.isnan(var.val).any():
            raise ValueError(f"{var.name} was computed from weights, which are in the file and not in memory")
        place = self._weights.add(types.builtin_to_string(var.dtype), var.val)
        if var.op.weight_id:
            self._written[var.op.weight_id] = place
        return place


def forget_names() -> None:
    """Makes coremltools name ops from the start again, whatever this process has built before."""
    converter._reset_conversion_state()


def export(program: Any, passes: Sequence[str], weights: WeightFile) -> proto.Model_pb2.Model:
    """Runs the named passes, then writes the program as a message; constants without a place go to `weights`.

    Not `mil_convert_to_proto`, which prints the whole program for a log nobody reads and checks it after every pass:
    two thirds of the time. It is checked here once, as there.
    """
    try:
        for name in passes:
            PASS_REGISTRY[name](program)
        program.validate(check_essential_scope=True)
        program._check_early_error_out_for_invalid_program()
        message = _Exporter(program, weights).export()
        exporter = CoreMLProtoExporter(
            program,
            message,
            None,
            None,
            classifier_config=None,
            convert_to="mlprogram",
            convert_from="milinternal",
            specification_version=ct.target.iOS18,
        )
        return exporter.export(ct.target.iOS18)
    finally:
        forget_names()
