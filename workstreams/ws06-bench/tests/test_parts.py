"""The parts that need no model: figures, memory, the compute plan against a stand-in, names."""

from __future__ import annotations

import ast
import statistics
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lilims.bench as package
from lilims.bench.compute_plan import compute_plan, summary
from lilims.bench.figures import percentiles, summarise
from lilims.bench.memory import memory, of_rollup

VALUES = st.lists(st.floats(0.001, 1e6), min_size=1, max_size=50)


@given(VALUES)
def test_summaries_are_those_of_the_statistics_module(values: list[float]) -> None:
    found = summarise(values)
    assert found.median == statistics.median(values) and found.values == tuple(values)
    assert min(values) <= found.mean * (1 + 1e-12) and found.mean <= max(values) * (1 + 1e-12)
    assert found.sd == (statistics.stdev(values) if len(values) > 1 else 0.0)


@given(VALUES)
def test_percentiles_are_values_in_their_order(values: list[float]) -> None:
    found = percentiles(values)
    assert set(found.values()) <= set(values)
    assert sorted(found.values()) == list(found.values()) and found["max"] == max(values)
    assert sum(value <= found["p90"] for value in values) >= 0.9 * len(values)


def test_no_values() -> None:
    with pytest.raises(ValueError, match="no values"):
        summarise([])


def test_memory_grows_by_what_is_taken() -> None:
    before = memory()
    taken = bytearray(b"x" * 50_000_000)
    after = memory()
    assert before["rss"] and after["rss"] and before["private"] and after["private"], sys.platform
    assert 40e6 < after["private"] - before["private"] < 80e6, len(taken)


def test_rollup_of_linux() -> None:
    text = """55d0c0000000-7ffc3d3f2000 ---p 00000000 00:00 0                          [rollup]
Rss:                9216 kB
Pss:                3170 kB
Shared_Clean:       6700 kB
Private_Clean:       116 kB
Private_Dirty:      2400 kB
Anonymous:          2400 kB
"""
    assert of_rollup(text) == {"rss": 9216 * 1024, "private": 2516 * 1024}
    with pytest.raises(KeyError):
        of_rollup("nothing of it")


class MLCPUComputeDevice: ...


class MLNeuralEngineComputeDevice: ...


def operation(device: Any, weight: float | None, *blocks: Any) -> SimpleNamespace:
    return SimpleNamespace(device=device, weight=weight, blocks=list(blocks))


def test_a_compute_plan_says_where_operators_go() -> None:
    """A stand-in with the shape of coremltools' MLComputePlan: constants have no usage, a block may be nested."""
    inner = SimpleNamespace(operations=[operation(MLCPUComputeDevice(), 0.1)])
    block = SimpleNamespace(
        operations=[
            operation(None, None),
            operation(MLNeuralEngineComputeDevice(), 0.6),
            operation(MLNeuralEngineComputeDevice(), None),
            operation(MLCPUComputeDevice(), 0.1, inner),
        ]
    )
    program = SimpleNamespace(functions={"decode": SimpleNamespace(block=block)})
    plan = SimpleNamespace(
        model_structure=SimpleNamespace(program=program),
        get_compute_device_usage_for_mlprogram_operation=lambda op: (
            None if op.device is None else SimpleNamespace(preferred_compute_device=op.device)
        ),
        get_estimated_cost_for_mlprogram_operation=lambda op: (
            None if op.weight is None else SimpleNamespace(weight=op.weight)
        ),
    )
    found = summary(plan)["decode"]
    assert {device: part["operators"] for device, part in found.items()} == {"ane": 2, "cpu": 2}
    assert found["ane"]["cost_share"] == pytest.approx(0.75)
    assert sum(part["cost_share"] for part in found.values()) == pytest.approx(1)


@pytest.mark.skipif(sys.platform == "darwin", reason="Core ML is there")
def test_no_compute_plan_without_core_ml(tmp_path: Path) -> None:
    assert compute_plan(tmp_path, "ALL") is None


def test_every_name_is_there() -> None:
    assert sorted(package.__all__, key=lambda name: (name[0].islower(), name)) == package.__all__
    assert [name for name in package.__all__ if not hasattr(package, name)] == []
    assert dir(package) == sorted(package.__all__)
    tree = ast.parse(Path(package.__file__ or "").read_text("utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    imported = {alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert imported == set(package.__all__) == set(package._HOMES)


def test_the_command_imports_nothing_heavy() -> None:
    program = """
import sys
before = set(sys.modules)  # a tool of the environment may have loaded what it likes
import lilims.bench.commands.bench
heavy = {"numpy", "rich", "matplotlib", "plotille", "lilims.runtime", "pydantic", "csv"}
print(sorted(heavy & (set(sys.modules) - before)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
