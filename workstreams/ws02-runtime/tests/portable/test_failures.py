"""What exceptions of frameworks become."""

from __future__ import annotations

import pytest

from lilims.core.errors import ExecutionError, OutOfMemoryError
from lilims.runtime.portable.failures import failure

MEMORY = {
    "python": MemoryError(),
    "c++": RuntimeError("std::bad_alloc"),
    "onnxruntime": RuntimeError(
        "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : BFCArena::AllocateRawInternal Failed to allocate memory for "
        "requested buffer of size 137438953472"
    ),
    "core ml": RuntimeError("Error code -5: Insufficient memory (IOGPUCommandBufferCallbackErrorOutOfMemory)"),
}


@pytest.mark.parametrize("case", MEMORY)
def test_want_of_memory_is_told_apart(case: str) -> None:
    found = failure("the prediction failed", MEMORY[case], where="decode")
    assert type(found) is OutOfMemoryError
    assert found.message.startswith("the prediction failed for want of memory: ")
    assert (found.where, found.hint) == ("decode", OutOfMemoryError.next_step)


def test_anything_else_keeps_its_first_line() -> None:
    found = failure("the program failed", RuntimeError("node /x\nat 0x12"), hint="look")
    assert type(found) is ExecutionError
    assert (found.message, found.hint) == ("the program failed: node /x", "look")


def test_an_empty_exception_has_its_name() -> None:
    assert failure("it failed", KeyError()).message == "it failed: KeyError"
