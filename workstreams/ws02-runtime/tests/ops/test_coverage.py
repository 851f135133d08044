"""Which ops of coremltools' registry have no lowering, and why. A new op in a new coremltools shows up here."""

from __future__ import annotations

import warnings

import pytest

from lilims.runtime.portable.lowering import ops  # noqa: F401  (fills LOWERINGS)
from lilims.runtime.portable.lowering.scope import LOWERINGS

NOT_LOWERED = {
    "conv_quantized": "an experiment of the neural network format; weights of ML Programs are constexpr ops",
    "_const_symbolic": "exists while converting, never in a package",
}


def test_every_op_is_lowered_or_has_a_reason_not_to_be() -> None:
    pytest.importorskip("coremltools")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

    known = set(SSAOpRegistry.core_ops)
    assert known - set(LOWERINGS) == set(NOT_LOWERED)
    invented = {op for op in set(LOWERINGS) - known if not op.startswith("lilims.")}
    assert invented <= {"write_state", "coreml_update_state"}  # of the dialect that packages are written in
