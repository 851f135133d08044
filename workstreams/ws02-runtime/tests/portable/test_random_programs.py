"""Random programs of up to eight ops give what NumPy gives: the executor's exact mode, plain and with fusions.

../programs/ says what each op means, apart from the executor. `hatch test` draws the same programs every time, and
hypothesis makes one that fails small before it prints it. `hatch run soak` draws many more, the same again by seed.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lilims.core.errors import UnsupportedOpError
from lilims.runtime.portable import MLModel

from ..programs import KNOWN, Program, make_program, write_program

RELATIVE = 1e-4  # of the largest element: float32 over eight ops
SOAK = 20_000

integers = lru_cache(maxsize=None)(st.integers)


@st.composite
def programs(draw: Any) -> Program:
    return make_program(lambda low, high: draw(integers(low, high)))


def check(program: Program, *, fused: bool) -> None:
    """Runs the program; every output has the shape and the elements that NumPy gives.

    Some forms need fixed shapes; that one is refused is no failure where shapes are flexible.
    """
    try:
        with tempfile.TemporaryDirectory() as folder:
            model = MLModel(write_program(Path(folder), program), precision="exact", threads=1, fused=fused)
    except UnsupportedOpError:
        if program.flexible:
            return
        raise
    found = model.predict({value.name: value.array for value in program.inputs})
    for value in program.outputs:
        expected = np.atleast_1d(value.array).astype(float)
        assert found[value.name].shape == expected.shape, f"{value.name} in {program!r}"
        bound = 0 if value.dtype in ("int32", "bool") else RELATIVE * max(1.0, np.abs(expected).max())
        error = np.abs(found[value.name] - expected).max()
        assert error <= bound, f"{value.name} is off by {error}, found {found[value.name].tolist()} in {program!r}"


@settings(max_examples=150, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(programs(), st.booleans())
def test_random_programs(program: Program, fused: bool) -> None:
    check(program, fused=fused)


@pytest.mark.soak
def test_many_random_programs() -> None:
    seen: Counter[str] = Counter()
    for seed in range(SOAK):
        program = make_program(Random(seed).randint)
        seen.update(step.op for step in program.steps)
        try:
            check(program, fused=seed % 2 == 0)
        except Exception as exc:
            exc.add_note(f"seed {seed}: {program!r}")
            raise
    rare = [name for name in KNOWN if seen[name] < SOAK // 2000]
    assert not rare, f"hardly ever drawn: {', '.join(rare)}"
