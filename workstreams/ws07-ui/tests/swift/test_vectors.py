"""The values that the Swift tests compare with are still those of the packages that they come from."""

from __future__ import annotations

import base64
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from .helpers import STARTER

ROOT = Path(__file__).parents[4]
FOLDER = STARTER / "LilimsKit/Tests/LilimsCoreTests/Vectors"
HINT = "python tools/record_swift_vectors.py writes them anew; then run the Swift tests"


@pytest.fixture(scope="module")
def recorder() -> Any:
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        import record_swift_vectors
    finally:
        sys.path.pop(0)
    return record_swift_vectors


def _same(mine: Any, theirs: Any, place: str) -> None:
    """Equal; numbers to what sine and exponential may differ by between platforms."""
    if isinstance(theirs, dict):
        assert mine.keys() == theirs.keys(), place
        for name in theirs:
            _same(mine[name], theirs[name], f"{place}.{name}")
    elif isinstance(theirs, list):
        assert len(mine) == len(theirs), place
        for i, (one, other) in enumerate(zip(mine, theirs, strict=True)):
            _same(one, other, f"{place}[{i}]")
    elif isinstance(theirs, float):
        assert math.isclose(mine, theirs, rel_tol=1e-5, abs_tol=1e-6), f"{place}: {mine} is not {theirs}: {HINT}"
    else:
        assert mine == theirs, f"{place}: {mine!r} is not {theirs!r}: {HINT}"


@pytest.mark.parametrize("name", ["rotary", "plans", "random", "samples", "halves", "embeddings", "tokenizers"])
def test_values_are_those_of_lilims(recorder: Any, name: str) -> None:
    recorded = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    _same(json.loads(json.dumps(recorder.VECTORS[name]())), recorded, name)


def test_the_recorded_generation_is_still_the_built_in_models(recorder: Any) -> None:
    """Calls, inputs, tokens and text are the same; logits as far as kernels of another processor leave them."""
    recorded = json.loads((FOLDER / "trace.json").read_text("utf-8"))
    fresh = json.loads(json.dumps(recorder.trace()))

    def logits(run: dict[str, Any]) -> list[np.ndarray[Any, Any]]:
        packed = [call.pop("logits") for call in run["calls"]]
        return [np.frombuffer(base64.b64decode(text), "<f2").astype(np.float32) for text in packed if text]

    for mine, theirs in zip(fresh["runs"], recorded["runs"], strict=True):
        for one, other in zip(logits(mine), logits(theirs), strict=True):
            np.testing.assert_allclose(one, other, atol=0.1)
    _same(fresh, recorded, "trace")


def test_every_file_of_values_is_read_by_a_swift_test(recorder: Any) -> None:
    read = "".join(path.read_text("utf-8") for path in FOLDER.parent.glob("*.swift"))
    assert {path.stem for path in FOLDER.glob("*.json")} == set(recorder.VECTORS)
    for name in recorder.VECTORS:
        assert f'read("{name}"' in read, name
