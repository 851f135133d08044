"""Which ops of coremltools' registry have no lowering, and why. A new op in a new coremltools shows up here."""

from __future__ import annotations

import warnings

import pytest

from lilims.runtime.portable.lowering import ops  # noqa: F401  (fills LOWERINGS)
from lilims.runtime.portable.lowering.scope import LOWERINGS

CONTROL = "its body is a graph of its own"
LISTS = "ONNX Runtime's sequences cannot be of a shape that a loop changes"
RANDOM = "the device's generator is not known, so no result could be checked"
NOT_LOWERED = {
    "cond": CONTROL,
    "while_loop": CONTROL,
    "make_list": LISTS,
    "list_length": LISTS,
    "list_write": LISTS,
    "list_read": LISTS,
    "list_gather": LISTS,
    "list_scatter": LISTS,
    "random_bernoulli": RANDOM,
    "random_categorical": RANDOM,
    "random_normal": RANDOM,
    "random_uniform": RANDOM,
    "non_maximum_suppression": "its output has a fixed number of boxes, ONNX's op a varying one",
    "classify": "its results are a label and a dictionary, no tensors",
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
