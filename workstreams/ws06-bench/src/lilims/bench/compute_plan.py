"""Where Core ML means to run a package's operators: its compute plan, on macOS.

Knows coremltools' MLComputePlan. Must not know how a package is run. The tests have a stand-in for it: Core ML itself
is on macOS only.
"""

from __future__ import annotations

import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["compute_plan", "summary"]

_DEVICES = {"MLCPUComputeDevice": "cpu", "MLGPUComputeDevice": "gpu", "MLNeuralEngineComputeDevice": "ane"}


def compute_plan(package: Path, units: str) -> dict[str, Any] | None:
    """The plan of each function of a package, as `summary` gives it; None off macOS, where there is no Core ML."""
    if sys.platform != "darwin":
        return None
    import coremltools
    from coremltools.models.compute_plan import MLComputePlan

    with tempfile.TemporaryDirectory(prefix="lilims-plan-") as folder:
        target = Path(folder) / "model.mlmodelc"
        coremltools.models.utils.compile_model(str(package), destination_path=str(target))
        return summary(MLComputePlan.load_from_path(str(target), compute_units=coremltools.ComputeUnit[units]))


def summary(plan: Any) -> dict[str, Any]:
    """Function → device (cpu, gpu, ane) → operators that prefer it, and their share of the estimated cost.

    Constants have neither device nor cost and do not count. Operators of nested blocks do.
    """
    found: dict[str, Any] = {}
    for name, function in plan.model_structure.program.functions.items():
        counts: dict[str, int] = defaultdict(int)
        costs: dict[str, float] = defaultdict(float)
        for operation in _operations(function.block):
            usage = plan.get_compute_device_usage_for_mlprogram_operation(operation)
            if usage is None:
                continue
            kind = type(usage.preferred_compute_device).__name__
            device = _DEVICES.get(kind, kind)
            counts[device] += 1
            cost = plan.get_estimated_cost_for_mlprogram_operation(operation)
            costs[device] += cost.weight if cost is not None else 0.0
        total = sum(costs.values()) or 1.0
        found[name] = {
            device: {"operators": counts[device], "cost_share": costs[device] / total} for device in sorted(counts)
        }
    return found


def _operations(block: Any) -> Iterator[Any]:
    for operation in block.operations:
        yield operation
        for inner in operation.blocks:
            yield from _operations(inner)
