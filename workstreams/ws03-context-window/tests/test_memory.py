"""The bytes that a plan names, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lilims.context import DecoderSizes, check_memory, kv_state_bytes, longest_context, plan_memory, state_rows
from lilims.context.memory import DEVICE, PORTABLE
from lilims.core.errors import OutOfMemoryError

SIZES = DecoderSizes(
    layers=22, kv_heads=4, heads=32, head_dim=64, hidden=2048, vocab=32000, chunk=64, masks=1,
    weights=620_000_000, context=8192,
)  # fmt: skip


def test_bytes_of_a_state() -> None:
    assert kv_state_bytes(layers=22, kv_heads=4, rows=8256, head_dim=64) == 185_991_168
    # stories260K: head_dim 8 stands as 32 in the state
    state = np.zeros((2 * 5, 4, 576, 32), np.float16)
    assert kv_state_bytes(layers=5, kv_heads=4, rows=576, head_dim=8) == state.nbytes
    with pytest.raises(ValueError, match="at least 1"):
        kv_state_bytes(layers=0, kv_heads=4, rows=576, head_dim=8)


@pytest.mark.parametrize("context", [1, 512, 8192, 100_000])
def test_the_formulas(context: int) -> None:
    rows = state_rows(context, [64])
    plan = plan_memory(SIZES, context)
    arrays = (np.empty((64, rows), np.float32).nbytes * 33, 64 * 32000 * 4, 8 * 64 * 2048 * 4)
    assert plan.scratch == sum(arrays)
    assert plan.state == 2 * 22 * 4 * rows * 64 * 2
    assert plan.total == 620_000_000 + plan.state + plan.scratch
    portable = plan_memory(SIZES, context, PORTABLE)
    assert (portable.state, portable.weights) == (2 * plan.state, 868_000_000)


def test_the_context_of_the_package_is_the_default() -> None:
    assert plan_memory(SIZES) == plan_memory(SIZES, 8192)


@pytest.mark.parametrize("executor", [DEVICE, PORTABLE], ids=["device", "portable"])
@pytest.mark.parametrize("available", [900_000_000, 1_000_000_000, 8_000_000_000])
def test_the_longest_context_fits_and_the_next_row_does_not(available: int, executor: Any) -> None:
    longest = longest_context(SIZES, available, executor)
    assert longest is not None
    assert plan_memory(SIZES, longest, executor).total <= available < plan_memory(SIZES, longest + 1, executor).total


def test_what_does_not_fit_is_refused_with_the_number_that_would() -> None:
    assert check_memory(SIZES, 2_000_000_000).context == 8192
    with pytest.raises(OutOfMemoryError, match="a context of 200000 takes") as caught:
        check_memory(SIZES, 2_000_000_000, context=200_000)
    longest = longest_context(SIZES, 2_000_000_000)
    assert f"a context of {longest} fits" in (caught.value.hint or "")
    with pytest.raises(OutOfMemoryError) as caught:
        check_memory(SIZES, 100_000)
    assert "even one token of context takes" in (caught.value.hint or "")


def test_sizes_of_a_manifest() -> None:
    class Record:
        def __init__(self, **values: Any) -> None:
            self.__dict__.update(values)

    architecture = Record(layers=2, kv_heads=1, heads=4, head_dim=8, hidden_size=32, vocab_size=96)
    manifest = Record(
        architecture=architecture,
        functions={"decode": Record(tokens=1), "prefill": Record(tokens=16)},
        files={
            "model.mlpackage/Data/com.apple.CoreML/weights/weight.bin": Record(bytes=1000),
            "second.mlpackage/Data/com.apple.CoreML/weights/weight.bin": Record(bytes=500),
            "embedding.bin": Record(bytes=70),
            "tokenizer.json": Record(bytes=7),
        },
        local_window=5,
        context=64,
    )
    sizes = DecoderSizes.of(manifest)  # type: ignore[arg-type]
    assert (sizes.weights, sizes.chunk, sizes.masks, sizes.context) == (1500, 16, 2, 64)
